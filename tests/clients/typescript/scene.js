// What every judge needs: the official client, connected to the emulator that the environment names, and a small world in it.

import { createRequire } from "node:module";
import { join } from "node:path";

const modules = process.env.OCTOSTEPS_NODE_MODULES;
// The package is CommonJS and may lie outside this folder.
export const octopus = createRequire(import.meta.url)(join(modules, "@octopusdeploy/api-client"));

export const configuration = {
    userAgentApp: "octosteps-judge",
    instanceURL: process.env.OCTOPUS_URL,
    apiKey: process.env.OCTOPUS_API_KEY,
};

export const connect = () => octopus.Client.create(configuration);

// A space of its own with two environments, and the lifecycle and group that every new space has.
export async function makeWorld(client, name = "Judged") {
    const spaces = new octopus.SpaceRepository(client);
    const space = await spaces.create({
        Name: name,
        IsDefault: false,
        SpaceManagersTeams: ["teams-administrators"],
        SpaceManagersTeamMembers: [],
    });
    const environments = new octopus.EnvironmentRepository(client, space.Name);
    const test = await environments.create({ Name: "Test" });
    const production = await environments.create({ Name: "Production" });
    const [lifecycle] = (await new octopus.LifecycleRepository(client, space.Name).list({ take: 1 })).Items;
    const [group] = (await new octopus.ProjectGroupRepository(client, space.Name).list({ take: 1 })).Items;
    return { client, spaces, space, environments, test, production, lifecycle, group };
}

// A project with one step for each name, and the steps' names as its releases' content.
export async function makeProject(world, name, steps = ["Work"], fields = {}) {
    const projects = new octopus.ProjectRepository(world.client, world.space.Name);
    const project = await projects.create({
        ...octopus.NewProject(name, world.group, world.lifecycle),
        ...fields,
    });
    const processes = new octopus.DeploymentProcessRepository(world.client, world.space.Name);
    const process = await processes.get(project);
    process.Steps = steps.map((step) => makeStep(step));
    await processes.update(project, process);
    return project;
}

export function makeStep(name, properties = {}) {
    return {
        Name: name,
        Properties: {},
        Condition: octopus.RunCondition.Success,
        PackageRequirement: octopus.PackageRequirement.LetOctopusDecide,
        StartTrigger: octopus.StartTrigger.StartAfterPrevious,
        Actions: [
            {
                Name: name,
                ActionType: "Octopus.Script",
                IsDisabled: false,
                IsRequired: false,
                Environments: [],
                ExcludedEnvironments: [],
                Channels: [],
                TenantTags: [],
                Packages: [],
                Condition: "Success",
                Properties: {
                    "Octopus.Action.RunOnServer": "true",
                    "Octopus.Action.Script.ScriptSource": "Inline",
                    "Octopus.Action.Script.Syntax": "Python",
                    "Octopus.Action.Script.ScriptBody": `print("this is ${name}")\n`,
                    ...properties,
                },
            },
        ],
    };
}

export function waiter(world) {
    return new octopus.ServerTaskWaiter(world.client, world.space.Name, { maxRetries: 1, retryBackoffMs: 10 });
}

export async function ended(world, taskIds) {
    return await waiter(world).waitForServerTasksToComplete(taskIds, 20, 60_000);
}
