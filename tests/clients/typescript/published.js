// Reads what octosteps has published and imported with the official client, and edits it as a colleague's script would.
// Usage: published.js read | edit-template | edit-step. Prints what it has read as JSON.

import { connect, octopus } from "./scene.js";

const client = await connect();
const [space] = (await new octopus.SpaceRepository(client).list({ take: 1 })).Items;

// The client has no repository of step templates of its own; this is how it makes all of its others.
class ActionTemplateRepository extends octopus.SpaceScopedBasicRepository {
    constructor() {
        super(client, space.Name, `${octopus.spaceScopedRoutePrefix}/actiontemplates`, "skip,take,ids,partialName");
    }
}

const templates = new ActionTemplateRepository();
const [template] = (await templates.list({ partialName: "Web - Check Page" })).Items;
const [project] = (await new octopus.ProjectRepository(client, space.Name).list({ partialName: "Shop" })).Items;
const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const process_ = project && (await processes.get(project));

switch (process.argv[2]) {
    case "edit-template":
        template.Properties["Octopus.Action.Script.ScriptBody"] += "print('edited by the official client')\n";
        await templates.modify(template);
        break;
    case "edit-step":
        process_.Steps[0].Actions[0].Properties["CheckPage.Patience"] = "5m";
        await processes.update(project, process_);
        break;
}
console.log(JSON.stringify({ template: await templates.get(template.Id), process: process_ }));
