// Environments, project groups, lifecycles, projects and their processes.

import assert from "node:assert/strict";
import { connect, makeProject, makeWorld, octopus } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space, environments, test, production, lifecycle, group } = world;
const names = (page) => page.Items.map((item) => item.Name);

assert.equal(test.SpaceId, space.Id);
assert.deepEqual(names(await environments.list({ take: octopus.BasicRepository.TakeAll })), ["Test", "Production"]);
assert.deepEqual(names(await environments.list({ ids: [production.Id] })), ["Production"]);
await environments.sort([production.Id, test.Id]);
assert.deepEqual(names(await environments.list()), ["Production", "Test"]);
assert.equal((await environments.getEnvironmentByName("test")).Id, test.Id);
assert.equal(await environments.getEnvironmentByName("Elsewhere"), null);
assert.deepEqual((await environments.machines(test, {})).Items, []);
const newer = await new octopus.EnvironmentV2Repository(client, space.Name).list({ skip: 0, take: 10, type: "Static" });
assert.deepEqual(names(newer), ["Production", "Test"]);
const renamed = await environments.modify({ ...test, Name: "Testing" });
assert.equal(renamed.Name, "Testing");
assert.equal(renamed.Id, test.Id);

const groups = new octopus.ProjectGroupRepository(client, space.Name);
const other = await groups.save({ Name: "Other", Description: "one more" });
assert.deepEqual(names(await groups.list({ partialName: "oth" })), ["Other"]);
await groups.del(other);
await assert.rejects(groups.get(other.Id), (error) => error.StatusCode === 404);

const lifecycles = new octopus.LifecycleRepository(client, space.Name);
const made = await lifecycles.create({
    Name: "Two steps",
    Phases: [{ Name: "Only", AutomaticDeploymentTargets: [], OptionalDeploymentTargets: [test.Id] }],
});
assert.equal((await lifecycles.get(made.Id)).Phases[0].Name, "Only");

const project = await makeProject(world, "Web shop");
const projects = new octopus.ProjectRepository(client, space.Name);
assert.equal(project.Slug, "web-shop");
assert.equal((await projects.get("web-shop")).Id, project.Id);
assert.deepEqual(names(await projects.list({ partialName: "WEB" })), ["Web shop"]);
await assert.rejects(projects.create(octopus.NewProject("web SHOP", group, lifecycle)), (error) => error.StatusCode === 400);

const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const process = await processes.get(project);
assert.equal(octopus.isDeploymentProcess(process), true);
assert.equal(process.Steps.length, 1);
assert.ok(process.Steps[0].Id && process.Steps[0].Actions[0].Id);
process.Steps[0].Name = "Renamed";
const written = await processes.update(project, process);
assert.equal(written.Version, process.Version + 1);
// The same version again is a stale one.
await assert.rejects(processes.update(project, process), (error) => {
    assert.equal(error.StatusCode, 400);
    assert.match(error.message, /another user has made changes/);
    return true;
});

const feeds = await client.request("~/api/{spaceId}/feeds{?skip,take}", { spaceName: space.Name, take: 10 });
assert.deepEqual(feeds.Items.map((feed) => feed.FeedType), ["BuiltIn"]);

await projects.del(project);
assert.equal((await projects.list()).TotalResults, 0);
