// Who am I, what can this server do, and a space from its making to its end.

import assert from "node:assert/strict";
import { configuration, connect, makeWorld, octopus } from "./scene.js";

const client = await connect();
const server = await client.getServerInformation();
assert.match(server.version, /^20\d\d\.\d+\.\d+$/);
assert.ok(server.installationId);

const me = await octopus.userGetCurrent(client);
assert.equal(me.Username, "admin");

// null = supported.
assert.equal(await octopus.checkForCapability(client, "CreateReleaseCommandV1", "2022.3"), null);
assert.match(await octopus.checkForCapability(client, "NoSuchCommandV1", "2099.1"), /does not support NoSuchCommandV1/);

// Without a key there is a root document, and nothing else.
const stranger = await octopus.Client.create({ ...configuration, apiKey: undefined });
await assert.rejects(octopus.userGetCurrent(stranger), (error) => {
    assert.equal(error.StatusCode, 401);
    assert.match(error.message, /You must be logged in/);
    return true;
});

const world = await makeWorld(client, "Short-lived");
const { spaces, space } = world;
assert.equal((await spaces.get(space.Id)).Name, "Short-lived");
assert.deepEqual((await spaces.list({ partialName: "Short", take: 10 })).Items.map((item) => item.Id), [space.Id]);
assert.equal(await octopus.resolveSpaceId(client, "Short-lived"), space.Id);
await assert.rejects(octopus.resolveSpaceId(client, "Nowhere"), /No spaces exist with name 'Nowhere'/);

await assert.rejects(makeWorld(client, "Short-lived"), (error) => error.StatusCode === 400);

// A space goes only once its task queue has been stopped.
await assert.rejects(spaces.del(space), (error) => error.StatusCode === 400);
await spaces.modify({ ...space, TaskQueueStopped: true });
await spaces.del(space);
await assert.rejects(spaces.get(space.Id), (error) => error.StatusCode === 404);
