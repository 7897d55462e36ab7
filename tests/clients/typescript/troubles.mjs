// The waiter against a server in trouble, which the test arranges: two answers are lost to a 503 and a 429, then all is well.

import assert from "node:assert/strict";
import { configuration, makeProject, makeWorld, octopus } from "./scene.js";

const warnings = [];
const logging = { warn: (message) => warnings.push(message) };
const world = await makeWorld(await octopus.Client.create({ ...configuration, logging }));
const { client, space } = world;
await makeProject(world, "Web");
const command = { spaceName: space.Name, ProjectName: "Web", ReleaseVersion: "1" };
await new octopus.ReleaseRepository(client, space.Name).create(command);
const deployments = new octopus.DeploymentRepository(client, space.Name);
const made = await deployments.create({ ...command, EnvironmentNames: ["Test"] });

const patient = new octopus.ServerTaskWaiter(client, space.Name, { maxRetries: 3, retryBackoffMs: 10 });
const [task] = await patient.waitForServerTasksToComplete([made.DeploymentServerTasks[0].ServerTaskId], 20, 60_000);
assert.equal(task.State, octopus.TaskState.Success);
assert.equal(warnings.length, 2);
assert.match(warnings[0], /attempt 1\/3.*\[503\]/s);
assert.match(warnings[1], /attempt 2\/3.*\[429\]/s);
