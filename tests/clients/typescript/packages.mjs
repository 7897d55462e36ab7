// Packages made by the client, pushed, listed and fetched; build information about them.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, makeWorld, octopus } from "./scene.js";

const world = await makeWorld(await connect());
const { client, space } = world;
const folder = mkdtempSync(join(tmpdir(), "octosteps-judge-"));
try {
    writeFileSync(join(folder, "hello.txt"), "hello");
    const pack = {
        packageId: "Acme.Web",
        basePath: folder,
        inputFilePatterns: ["*.txt"],
        outputFolder: folder,
        logger: {},
    };
    const files = [];
    for (const version of ["1.0.0", "1.2.0-beta.1"]) {
        files.push(await new octopus.ZipPackageBuilder().pack({ ...pack, version }));
    }
    const nuget = await new octopus.NuGetPackageBuilder().pack({
        ...pack,
        packageId: "Acme.Database",
        version: "3.0.0",
        nuspecArgs: { description: "words", authors: ["somebody"] },
    });
    const paths = [...files, nuget].map((file) => join(folder, file));

    const packages = new octopus.PackageRepository(client, space.Name);
    await packages.push(paths);
    const all = await packages.list();
    assert.deepEqual(
        all.Items.map((item) => `${item.PackageId} ${item.Version} ${item.FileExtension}`),
        ["Acme.Database 3.0.0 .nupkg", "Acme.Web 1.2.0-beta.1 .zip", "Acme.Web 1.0.0 .zip"],
    );
    assert.equal((await packages.list({ nuGetPackageId: "Acme.Web" })).TotalResults, 2);
    assert.equal((await packages.list({ filter: "acme", latest: true })).TotalResults, 2);
    assert.equal((await packages.get(all.Items[0].Id)).Version, "3.0.0");
    assert.equal((await packages.get("Acme.Web.1.0.0")).FileExtension, ".zip");

    // Once there, a package is replaced only on demand.
    await assert.rejects(packages.push([paths[0]]), /A package with the same ID and version already exists/);
    await packages.push([paths[0]], octopus.OverwriteMode.IgnoreIfExists);
    await packages.push([paths[0]], octopus.OverwriteMode.OverwriteExisting);
    assert.equal((await packages.list()).TotalResults, 3);

    const builds = new octopus.BuildInformationRepository(client, space.Name);
    const build = {
        spaceName: space.Name,
        BuildEnvironment: "CI",
        BuildNumber: "17",
        BuildUrl: "https://ci.example.com/17",
        Branch: "main",
        VcsType: "Git",
        VcsRoot: "https://git.example.com/acme",
        VcsCommitNumber: "0123abc",
        Commits: [{ Id: "0123abc", Comment: "Do it" }],
        Packages: [new octopus.PackageIdentity("Acme.Web", "1.0.0"), new octopus.PackageIdentity("Acme.Database", "3.0.0")],
    };
    await builds.push(build);
    await assert.rejects(builds.push(build), /already exists/);
    await builds.push({ ...build, BuildNumber: "18" }, octopus.OverwriteMode.OverwriteExisting);
    const known = (await packages.get("Acme.Web.1.0.0")).PackageVersionBuildInformation;
    assert.equal(known.BuildNumber, "18");
    assert.equal(known.Commits[0].Comment, "Do it");
} finally {
    rmSync(folder, { recursive: true });
}
