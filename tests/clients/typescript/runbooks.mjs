// A runbook from its making through publishing to its runs.

import assert from "node:assert/strict";
import { connect, ended, makeProject, makeStep, makeWorld, octopus } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space, test } = world;
const inSpace = { spaceName: space.Name };
const project = await makeProject(world, "Web", ["Work"], { TenantedDeploymentMode: "TenantedOrUntenanted" });

const runbooks = new octopus.RunbookRepository(client, space.Name, project);
const runbook = await runbooks.create({
    Name: "Back up",
    Description: "every night",
    ProjectId: project.Id,
    EnvironmentScope: octopus.RunbookEnvironmentScope.All,
    MultiTenancyMode: "TenantedOrUntenanted",
    DefaultGuidedFailureMode: octopus.GuidedFailureMode.EnvironmentDefault,
    RunRetentionPolicy: { QuantityToKeep: 10, ShouldKeepForever: false },
});
assert.equal(runbook.PublishedRunbookSnapshotId, null);
assert.deepEqual((await runbooks.list()).Items.map((item) => item.Id), [runbook.Id]);

const processes = new octopus.RunbookProcessRepository(client, space.Name, project);
const process = await processes.get(runbook);
assert.equal(octopus.isRunbookProcess(process), true);
process.Steps = [makeStep("Copy"), makeStep("Tell")];
assert.equal((await processes.update(process)).Version, process.Version + 1);

const runs = new octopus.RunbookRunRepository(client, space.Name);
const command = { ...inSpace, ProjectName: "Web", RunbookName: "Back up", EnvironmentNames: ["Test"] };
await assert.rejects(runs.create(command), (error) => {
    assert.match(error.message, /Runbook has no published snapshot/);
    return true;
});

const snapshots = new octopus.RunbookSnapshotRepository(client, space.Name, project);
const draft = await snapshots.create(runbook, "Draft", false);
assert.equal((await runbooks.get(runbook.Id)).PublishedRunbookSnapshotId, null);
process.Steps = [makeStep("Copy twice")];
await processes.update({ ...process, Version: process.Version + 1 });
const snapshot = await snapshots.create(runbook, "First", true, "notes");
assert.equal((await runbooks.get(runbook.Id)).PublishedRunbookSnapshotId, snapshot.Id);
assert.equal(snapshot.Notes, "notes");
assert.ok(snapshot.FrozenRunbookProcessId && snapshot.FrozenProjectVariableSetId);

const made = await runs.create(command);
const [{ RunbookRunId, ServerTaskId }] = made.RunbookRunServerTasks;
const [task] = await ended(world, [ServerTaskId]);
assert.equal(task.State, octopus.TaskState.Success);
assert.equal(task.Name, "RunbookRun");
const run = await runs.get(RunbookRunId);
assert.equal(run.RunbookSnapshotId, snapshot.Id);
assert.equal(run.EnvironmentId, test.Id);
const tasks = new octopus.SpaceServerTaskRepository(client, space.Name);
assert.match(await tasks.getRaw(ServerTaskId), /this is Copy twice/);

// An older snapshot by its name.
const older = await runs.create({ ...command, Snapshot: "Draft" });
await ended(world, [older.RunbookRunServerTasks[0].ServerTaskId]);
assert.equal((await runs.get(older.RunbookRunServerTasks[0].RunbookRunId)).RunbookSnapshotId, draft.Id);
assert.equal((await runs.list({ runbooks: [runbook.Id] })).TotalResults, 2);

// For each tenant.
const tenants = new octopus.TenantRepository(client, space.Name);
for (const Name of ["Acme", "Globex"]) {
    await tenants.create({ Name, ProjectEnvironments: { [project.Id]: [test.Id] } });
}
const tenanted = await runs.create({ ...command, Tenants: ["*"] });
assert.equal(tenanted.RunbookRunServerTasks.length, 2);
const results = await ended(world, tenanted.RunbookRunServerTasks.map((item) => item.ServerTaskId));
assert.deepEqual(results.map((item) => item.State), ["Success", "Success"]);

assert.equal((await runbooks.modify({ ...runbook, Description: "weekly" })).Description, "weekly");
await runbooks.del(runbook);
await assert.rejects(runbooks.get(runbook.Id), (error) => error.StatusCode === 404);
