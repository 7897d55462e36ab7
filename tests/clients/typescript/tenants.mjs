// Tag sets and tenants, and a tenant's values for a project's variable templates.

import assert from "node:assert/strict";
import { connect, ended, makeProject, makeStep, makeWorld, octopus } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space, test } = world;

const tagSets = new octopus.TagSetRepository(client, space.Name);
const regions = await tagSets.create({
    Name: "Regions",
    Tags: [{ Name: "EMEA", Color: "#333333" }, { Name: "APAC", Color: "#444444" }],
});
assert.deepEqual(regions.Tags.map((tag) => tag.CanonicalTagName), ["Regions/EMEA", "Regions/APAC"]);
const rings = await tagSets.create({ Name: "Rings", Tags: [{ Name: "Early", Color: "#333333" }] });
await tagSets.sort([rings.Id, regions.Id]);
assert.deepEqual((await tagSets.list()).Items.map((item) => item.Name), ["Rings", "Regions"]);

const template = {
    Name: "Greeting",
    Label: "Greeting",
    DefaultValue: "hello",
    DisplaySettings: { "Octopus.ControlType": "SingleLineText" },
};
const project = await makeProject(world, "Web", ["Work"], { TenantedDeploymentMode: "Tenanted", Templates: [template] });
const [{ Id: templateId }] = project.Templates;
const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const process = await processes.get(project);
process.Steps = [makeStep("Greet", { "Octopus.Action.Script.ScriptBody": 'print(get_octopusvariable("Greeting"))\n' })];
await processes.update(project, process);

const tenants = new octopus.TenantRepository(client, space.Name);
const acme = await tenants.create({
    Name: "Acme",
    TenantTags: ["Regions/EMEA"],
    ProjectEnvironments: { [project.Id]: [test.Id] },
});
assert.deepEqual((await tenants.list({ tags: "Regions/EMEA" })).Items.map((item) => item.Name), ["Acme"]);
assert.deepEqual((await tenants.list({ projectId: project.Id })).Items.map((item) => item.Name), ["Acme"]);
const tested = await tenants.tagTest([acme.Id], ["Regions/EMEA", "Rings/Early"]);
assert.equal(tested[acme.Id].IsMatched, false);
assert.deepEqual(tested[acme.Id].MissingTags, ["Rings/Early"]);

const variables = await tenants.getVariables(acme);
assert.equal(variables.ProjectVariables[project.Id].Templates[0].Name, "Greeting");
variables.ProjectVariables[project.Id].Variables[test.Id][templateId] = "salut";
await tenants.setVariables(acme, variables);
assert.equal((await tenants.getVariables(acme)).ProjectVariables[project.Id].Variables[test.Id][templateId], "salut");
assert.deepEqual(await tenants.missingVariables({ tenantId: acme.Id }), []);

const inSpace = { spaceName: space.Name, ProjectName: "Web", ReleaseVersion: "1" };
await new octopus.ReleaseRepository(client, space.Name).create(inSpace);
const deployments = new octopus.DeploymentRepository(client, space.Name);
await assert.rejects(deployments.create({ ...inSpace, EnvironmentNames: ["Test"] }), (error) => error.StatusCode === 400);
const made = await deployments.createTenanted({ ...inSpace, EnvironmentName: "Test", Tenants: ["Acme"] });
const [{ ServerTaskId }] = made.DeploymentServerTasks;
await ended(world, [ServerTaskId]);
assert.match(await new octopus.SpaceServerTaskRepository(client, space.Name).getRaw(ServerTaskId), /salut/);

await tenants.del(acme);
await tagSets.del(rings);
assert.equal((await tenants.list()).TotalResults, 0);
