// A version-controlled project: its process on a branch, and a release of that branch. The client cannot convert a project
// itself, so that one request is sent through its lowest layer.

import assert from "node:assert/strict";
import { connect, makeProject, makeStep, makeWorld, octopus } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space } = world;
const project = await makeProject(world, "Web", ["Work"]);
await client.doCreate(
    "~/api/{spaceId}/projects/{projectId}/git/convert",
    {
        VersionControlSettings: {
            Type: octopus.PersistenceSettingsType.VersionControlled,
            Url: "https://git.example.com/web.git",
            DefaultBranch: "main",
            Credentials: { Type: octopus.AuthenticationType.Anonymous },
        },
        CommitMessage: "Convert",
    },
    { spaceName: space.Name, projectId: project.Id },
);
const converted = await new octopus.ProjectRepository(client, space.Name).get(project.Id);
assert.equal(converted.IsVersionControlled, true);
assert.equal(octopus.HasVersionControlledPersistenceSettings(converted.PersistenceSettings), true);

const processes = new octopus.DeploymentProcessRepository(client, space.Name);
const process = await processes.getByGitRef(converted, "main");
assert.deepEqual(process.Steps.map((step) => step.Name), ["Work"]);
process.Steps.push(makeStep("Tell"));
await processes.updateByGitRef(converted, { ...process, ChangeDescription: "Tell it" }, "main");
assert.equal((await processes.getByGitRef(converted, "main")).Steps.length, 2);
await assert.rejects(processes.getByGitRef(converted, "no-such-branch"), (error) => error.StatusCode === 404);

const releases = new octopus.ReleaseRepository(client, space.Name);
const command = { spaceName: space.Name, ProjectName: "Web", ReleaseVersion: "1.0.0" };
await assert.rejects(releases.create(command), (error) => error.StatusCode === 400);
const made = await releases.create({ ...command, GitRef: "main" });
assert.match((await releases.get(made.ReleaseId)).VersionControlReference.GitRef, /main$/);
