// What the waiter does when tasks are unknown, slow, or too many to name in one page.

import assert from "node:assert/strict";
import { connect, makeProject, makeStep, makeWorld, octopus, waiter } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space } = world;
const inSpace = { spaceName: space.Name };
await makeProject(world, "Slow", ["Wait"]);
const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const slow = await new octopus.ProjectRepository(client, space.Name).get("slow");
const process = await processes.get(slow);
process.Steps = [makeStep("Wait", { "Octopus.Action.Script.Syntax": "PowerShell", "octosteps.emulator.duration": "86400" })];
await processes.update(slow, process);
await new octopus.ReleaseRepository(client, space.Name).create({ ...inSpace, ProjectName: "Slow", ReleaseVersion: "1" });
const deployments = new octopus.DeploymentRepository(client, space.Name);
const made = await deployments.create({ ...inSpace, ProjectName: "Slow", ReleaseVersion: "1", EnvironmentNames: ["Test"] });
const [{ ServerTaskId }] = made.DeploymentServerTasks;

assert.deepEqual(await waiter(world).waitForServerTasksToComplete([], 20, 1000), []);
await assert.rejects(
    waiter(world).waitForServerTasksToComplete([ServerTaskId, "ServerTasks-99999"], 20, 1000),
    /Unknown task Id\(s\) ServerTasks-99999/,
);
// Over: what has not ended is left out, and goes on.
assert.equal(await waiter(world).waitForServerTaskToComplete(ServerTaskId, 20, 100), undefined);
const tasks = new octopus.SpaceServerTaskRepository(client, space.Name);
assert.equal((await tasks.getById(ServerTaskId)).IsCompleted, false);
// Or is cancelled, which the server does in its own time.
await assert.rejects(
    waiter(world).waitForServerTasksToComplete([ServerTaskId], 20, 100, undefined, true),
    /Tasks were cancelled/,
);
const [canceled] = await waiter(world).waitForServerTasksToComplete([ServerTaskId], 20, 60_000);
assert.equal(canceled.State, octopus.TaskState.Canceled);
assert.equal(canceled.FinishedSuccessfully, false);
// An ended task can be cancelled, which changes nothing.
await new octopus.ServerTaskRepository(client).cancel(ServerTaskId);
await assert.rejects(tasks.getById("ServerTasks-99999"), (error) => error.StatusCode === 404);
assert.deepEqual(await tasks.getByIds([]), []);
assert.equal((await tasks.getByIds([ServerTaskId])).length, 1);
