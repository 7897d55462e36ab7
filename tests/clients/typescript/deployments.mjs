// Releases and deployments by command, untenanted and tenanted, and waiting for their tasks.

import assert from "node:assert/strict";
import { connect, ended, makeProject, makeStep, makeWorld, octopus, waiter } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space, test, production } = world;
const inSpace = { spaceName: space.Name };
const project = await makeProject(world, "Web", ["Build", "Deploy"], { TenantedDeploymentMode: "TenantedOrUntenanted" });

const releases = new octopus.ReleaseRepository(client, space.Name);
const first = await releases.create({ ...inSpace, ProjectName: "Web" });
assert.equal(first.ReleaseVersion, "0.0.1");
const second = await releases.create({ ...inSpace, ProjectName: "Web", ReleaseVersion: "1.0.0", ReleaseNotes: "words" });
assert.equal((await releases.get(second.ReleaseId)).ReleaseNotes, "words");
assert.deepEqual((await releases.list()).Items.map((item) => item.Version), ["1.0.0", "0.0.1"]);
assert.equal((await releases.listForProject(project.Id, { searchByVersion: "1.0" })).TotalResults, 1);
await assert.rejects(releases.create({ ...inSpace, ProjectName: "Web", ReleaseVersion: "1.0.0" }), (error) => {
    assert.match(error.message, /Release '1.0.0' already exists for this project/);
    return true;
});
const again = await releases.create({ ...inSpace, ProjectName: "Web", ReleaseVersion: "1.0.0", IgnoreIfAlreadyExists: true });
assert.equal(again.ReleaseId, second.ReleaseId);
await assert.rejects(releases.create({ ...inSpace, ProjectName: "No such project" }), (error) => error.StatusCode === 400);

const deployments = new octopus.DeploymentRepository(client, space.Name);
const deploy = { ...inSpace, ProjectName: "Web", ReleaseVersion: "1.0.0" };
const made = await deployments.create({ ...deploy, EnvironmentNames: ["Test"] });
assert.equal(made.DeploymentServerTasks.length, 1);
const [{ DeploymentId, ServerTaskId }] = made.DeploymentServerTasks;
const seen = [];
const [task] = await waiter(world).waitForServerTasksToComplete([ServerTaskId], 20, 60_000, (polled) => seen.push(polled.State));
assert.equal(task.State, octopus.TaskState.Success);
assert.equal(task.FinishedSuccessfully, true);
assert.equal(seen.at(-1), "Success");

const deployment = await deployments.get(DeploymentId);
assert.equal(deployment.EnvironmentId, test.Id);
assert.equal(deployment.TaskId, ServerTaskId);
assert.equal((await deployments.list({ projects: [project.Id], taskState: "Success" })).TotalResults, 1);

const tasks = new octopus.SpaceServerTaskRepository(client, space.Name);
assert.equal((await tasks.getById(ServerTaskId)).Description, "Deploy Web release 1.0.0 to Test");
const details = await tasks.getDetails(ServerTaskId);
assert.deepEqual(details.ActivityLogs[0].Children.map((child) => child.Name), ["Step 1: Build", "Step 2: Deploy"]);
assert.equal(details.Progress.ProgressPercentage, 100);
assert.match(await tasks.getRaw(ServerTaskId), /this is Deploy/);

// The lifecycle decides what comes next; the one after Test is Production.
const promoted = await deployments.create({ ...deploy, EnvironmentNames: ["Production"] });
await ended(world, [promoted.DeploymentServerTasks[0].ServerTaskId]);
await assert.rejects(
    deployments.create({ ...inSpace, ProjectName: "Web", ReleaseVersion: "0.0.1", EnvironmentNames: ["Production"] }),
    (error) => error.StatusCode === 400,
);
// The client's own words: nothing was asked for, so nothing was deployed.
await assert.rejects(deployments.create({ ...deploy, EnvironmentNames: [] }), /No server task details returned/);

// Tenanted: by name, and by tag.
const tagSets = new octopus.TagSetRepository(client, space.Name);
await tagSets.create({ Name: "Regions", Tags: [{ Name: "EMEA", Color: "#333333" }] });
const tenants = new octopus.TenantRepository(client, space.Name);
const connected = { [project.Id]: [test.Id, production.Id] };
await tenants.create({ Name: "Acme", ProjectEnvironments: connected, TenantTags: ["Regions/EMEA"] });
await tenants.create({ Name: "Globex", ProjectEnvironments: connected });
await tenants.create({ Name: "Initech", ProjectEnvironments: {} });
const byName = await deployments.createTenanted({ ...deploy, EnvironmentName: "Test", Tenants: ["Acme", "Globex"] });
const byTag = await deployments.createTenanted({ ...deploy, EnvironmentName: "Production", TenantTags: ["Regions/EMEA"] });
assert.equal(byName.DeploymentServerTasks.length, 2);
assert.equal(byTag.DeploymentServerTasks.length, 1);
const all = [...byName.DeploymentServerTasks, ...byTag.DeploymentServerTasks].map((item) => item.ServerTaskId);
const results = await ended(world, all);
assert.deepEqual(results.map((item) => item.State), ["Success", "Success", "Success"]);
await assert.rejects(
    deployments.createTenanted({ ...deploy, EnvironmentName: "Test", Tenants: ["Initech"] }),
    (error) => error.StatusCode === 400,
);

// A failing step fails its task.
await makeProject(world, "Broken", ["Break"]);
const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const broken = await new octopus.ProjectRepository(client, space.Name).get("broken");
const process = await processes.get(broken);
process.Steps = [makeStep("Break", { "Octopus.Action.Script.ScriptBody": 'failstep("no way")\n' })];
await processes.update(broken, process);
await releases.create({ ...inSpace, ProjectName: "Broken", ReleaseVersion: "1" });
const failing = await deployments.create({ ...inSpace, ProjectName: "Broken", ReleaseVersion: "1", EnvironmentNames: ["Test"] });
const [failed] = await ended(world, [failing.DeploymentServerTasks[0].ServerTaskId]);
assert.equal(failed.State, octopus.TaskState.Failed);
assert.equal(failed.FinishedSuccessfully, false);
assert.match(failed.ErrorMessage, /no way/);
