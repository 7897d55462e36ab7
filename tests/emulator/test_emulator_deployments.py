"""Deployments as they run: order and conditions of steps, what scripts see, what is left behind."""

from __future__ import annotations

import time

import pytest
from world import Json, World, lasting, python, secret, step, variable

from generator.emulator.tasks import Activity

# Octostache's opener, kept apart so that this file could stand in a script itself.
OPEN = "#" + "{"


def test_a_deployment_is_a_task(world: World) -> None:
    project, environment = world.project("Web", step("One")), world.environment()
    release = world.release(project)
    answer = world.api.post(
        "deployments",
        json={"ReleaseId": release["Id"], "EnvironmentId": environment["Id"], "Comments": "by us [token]"},
    )
    deployment = answer.json()
    assert 201 == answer.status_code
    assert ("by us [token]", "Deploy to Test", None) == (
        deployment["Comments"],
        deployment["Name"],
        deployment["TenantId"],
    )
    task = world.ended(deployment)
    assert ("Deploy", "Deploy Web release 1.0.0 to Test", {"DeploymentId": deployment["Id"]}) == (
        task["Name"],
        task["Description"],
        task["Arguments"],
    )
    assert ("Success", True, True, "", False) == (
        task["State"],
        task["IsCompleted"],
        task["FinishedSuccessfully"],
        task["ErrorMessage"],
        task["HasWarningsOrErrors"],
    )
    assert task["QueueTime"] <= task["StartTime"] <= task["CompletedTime"]
    assert deployment == world.get(f"deployments/{deployment['Id']}")


FAIL = lasting(0, "Fail", outcome="failure")


@pytest.mark.parametrize(
    ("steps", "expected", "state"),
    [
        pytest.param(
            [step("A"), step("B")], {"A": "Success", "B": "Success"}, "Success", id="one after the other"
        ),
        pytest.param(
            [FAIL, step("B")], {"Fail": "Failed", "B": "Skipped"}, "Failed", id="success is needed by default"
        ),
        pytest.param(
            [FAIL, step("B", Condition="Always")], {"Fail": "Failed", "B": "Success"}, "Failed", id="always"
        ),
        pytest.param(
            [FAIL, step("B", Condition="Failure")],
            {"Fail": "Failed", "B": "Success"},
            "Failed",
            id="after a failure",
        ),
        pytest.param(
            [step("A"), step("B", Condition="Failure")],
            {"A": "Success", "B": "Skipped"},
            "Success",
            id="no failure",
        ),
        pytest.param(
            [lasting(0, "W", outcome="warning")], {"W": "SuccessWithWarning"}, "Success", id="warning"
        ),
        pytest.param([step("A", action={"IsDisabled": True})], {"A": "Skipped"}, "Success", id="disabled"),
        pytest.param(
            [FAIL, step("B", StartTrigger="StartWithPrevious"), step("C")],
            {"Fail": "Failed", "B": "Success", "C": "Skipped"},
            "Failed",
            id="side by side with a failing one",
        ),
    ],
)
def test_conditions(world: World, steps: list[Json], expected: dict[str, str], state: str) -> None:
    task = world.deployed(*steps)
    assert (expected, state) == (world.steps(task), task["State"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("true", "Success", id="true"),
        pytest.param("", "Skipped", id="empty"),
        pytest.param("False", "Skipped", id="False"),
        pytest.param("no", "Skipped", id="no"),
        pytest.param("0", "Skipped", id="0"),
        pytest.param("anything", "Success", id="any other text"),
        pytest.param(OPEN + "Wanted}", "Success", id="variable"),
        pytest.param(OPEN + "Nowhere}", "Skipped", id="unresolved variable"),
        pytest.param(OPEN + "Octopus.Action[A].Output.Go}", "Success", id="output of an earlier step"),
    ],
)
def test_variable_conditions(world: World, expression: str, expected: str) -> None:
    conditional = step(
        "B", Condition="Variable", step_properties={"Octopus.Step.ConditionVariableExpression": expression}
    )
    first = python("set_octopusvariable('Go', 'yes')", "A") if "Output" in expression else step("A")
    task = world.deployed(first, conditional, variables=[variable("Wanted", "yes")])
    assert expected == world.steps(task)["B"]


def test_a_failing_step_lets_a_condition_see_the_error(world: World) -> None:
    """`Octopus.Deployment.Error` is empty while everything succeeds (docs, System variables)."""
    expression = {"Octopus.Step.ConditionVariableExpression": OPEN + "Octopus.Deployment.Error}"}
    task = world.deployed(FAIL, step("B", Condition="Variable", step_properties=expression))
    assert "Success" == world.steps(task)["B"]


def test_environments_and_channels_decide_which_actions_run(world: World) -> None:
    test, prod = world.environment("Test"), world.environment("Prod")
    project = world.project(
        "Web",
        step("Everywhere"),
        step("Only Prod", action={"Environments": [prod["Id"]]}),
        step("Not Test", action={"ExcludedEnvironments": [test["Id"]]}),
        step("Other channel", action={"Channels": ["Channels-99"]}),
    )
    task = world.ended(world.deploy(world.release(project), test))
    assert {
        "Everywhere": "Success",
        "Only Prod": "Skipped",
        "Not Test": "Skipped",
        "Other channel": "Skipped",
    } == world.steps(task)


def test_skipped_actions_do_not_run(world: World) -> None:
    project = world.project("Web", step("A"), step("B"))
    process = world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")
    skipped = process["Steps"][0]["Actions"][0]["Id"]
    task = world.ended(world.deploy(world.release(project), world.environment(), SkipActions=[skipped]))
    assert {"A": "Skipped", "B": "Success"} == world.steps(task)


def test_parallel_steps_run_side_by_side(world: World) -> None:
    """Two steps that wait for each other end only together; one after the other they would hang."""
    meet = (
        "import pathlib, time\n"
        "here = pathlib.Path({folder!r})\n"
        "(here / {me!r}).write_text('')\n"
        "while not (here / {other!r}).exists():\n    time.sleep(0.05)\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        task = world.deployed(
            python(meet.format(folder=folder, me="a", other="b"), "A"),
            python(meet.format(folder=folder, me="b", other="a"), "B", StartTrigger="StartWithPrevious"),
        )
    assert {"A": "Success", "B": "Success"} == world.steps(task)


# --- scripts -------------------------------------------------------------------------------------------------------


def test_a_script_really_runs_and_speaks_in_levels(world: World) -> None:
    task = world.deployed(
        python("print('plain')\nprinthighlight('bright')\nprintwarning('careful')\nprintverbose('quiet')")
    )
    lines = world.log(task)
    for expected in (
        ("Info", "plain"),
        ("Highlight", "bright"),
        ("Warning", "careful"),
        ("Verbose", "quiet"),
    ):
        assert expected in lines
    assert ("Success", True) == (task["State"], task["HasWarningsOrErrors"])
    assert {"Do": "SuccessWithWarning"} == world.steps(task)


def test_failstep_gives_the_task_its_sentence(world: World) -> None:
    task = world.deployed(python("failstep('the release is not there')"))
    assert ("Failed", "the release is not there") == (task["State"], task["ErrorMessage"])
    assert ("Fatal", "the release is not there") in world.log(task)


def test_a_script_that_only_ends_badly_is_told_by_its_exit_code(world: World) -> None:
    task = world.deployed(python("raise SystemExit(7)"))
    assert ("Failed", "The remote script failed with exit code 7") == (task["State"], task["ErrorMessage"])


def test_what_a_script_sees(world: World) -> None:
    names = [
        "Octopus.Space.Id", "Octopus.Space.Name", "Octopus.Project.Id", "Octopus.Project.Name", "Octopus.Environment.Name",
        "Octopus.Release.Number", "Octopus.Task.Id", "Octopus.Deployment.Id", "Octopus.Step.Name", "Octopus.Step.Number",
        "Octopus.Action.Name", "Octopus.Web.ServerUri", "Octopus.Deployment.Comments", "Octopus.Deployment.CreatedBy.Username",
        "Octopus.Release.Channel.Name", "Octopus.ProjectGroup.Name", "Octopus.Action.Template.Version", "Wait.Project",
    ]  # fmt: skip
    body = "\n".join(f"print({name!r}, '=', get_octopusvariable({name!r}))" for name in names)
    own = {"Wait.Project": "Shop", "Octopus.Action.Template.Version": "4"}
    task = world.deployed(python(body, "See", properties=own), Comments="because")
    seen = dict(line.split(" = ", 1) for line in world.printed(task) if " = " in line)
    assert {
        "Octopus.Space.Id": "Spaces-1", "Octopus.Space.Name": "Default", "Octopus.Project.Id": "Projects-1",
        "Octopus.Project.Name": "Web", "Octopus.Environment.Name": "Test", "Octopus.Release.Number": "1.0.0",
        "Octopus.Task.Id": task["Id"], "Octopus.Deployment.Id": "Deployments-1", "Octopus.Step.Name": "See",
        "Octopus.Step.Number": "1", "Octopus.Action.Name": "See", "Octopus.Web.ServerUri": world.emulator.url,
        "Octopus.Deployment.Comments": "because", "Octopus.Deployment.CreatedBy.Username": "admin",
        "Octopus.Release.Channel.Name": "Default", "Octopus.ProjectGroup.Name": "Default Project Group",
        "Octopus.Action.Template.Version": "4", "Wait.Project": "Shop",
    } == seen  # fmt: skip


def test_a_project_variable_beats_the_parameter_of_a_step(world: World) -> None:
    """OctopusDeploy/Issues 3814, with the warning."""
    own = {"Wait.Project": "from the step", "Octopus.Action.Template.Id": "ActionTemplates-1"}
    task = world.deployed(
        python("print(get_octopusvariable('Wait.Project'))", properties=own),
        variables=[variable("Wait.Project", "from the project")],
    )
    assert "from the project" in world.printed(task)
    assert any(
        "You have a duplicate variable Wait.Project" in text
        for category, text in world.log(task)
        if category == "Warning"
    )


def test_library_variables_are_seen_and_the_project_comes_first(world: World) -> None:
    library = world.post("libraryvariablesets", {"Name": "Shared"})
    world.set_variables(library, variable("A", "library"), variable("B", "library"))
    project = world.project("Web", python("print(get_octopusvariable('A'), get_octopusvariable('B'))"))
    project = world.put(
        f"projects/{project['Id']}", {**project, "IncludedLibraryVariableSetIds": [library["Id"]]}
    )
    world.set_variables(project, variable("A", "project"))
    task = world.ended(world.deploy(world.release(project), world.environment()))
    assert "project library" in world.printed(task)


def test_the_most_specific_variable_is_chosen(world: World) -> None:
    environment = world.environment()
    project = world.project("Web", python("print(get_octopusvariable('A'), get_octopusvariable('B'))"))
    action = world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")["Steps"][0]["Actions"][0]
    world.set_variables(
        project,
        variable("A", "nowhere else", Scope={"Environment": ["Environments-99"]}),
        variable("A", "anywhere"),
        variable("A", "here", Scope={"Environment": [environment["Id"]]}),
        variable("B", "here", Scope={"Environment": [environment["Id"]]}),
        variable("B", "this step", Scope={"Action": [action["Id"]]}),
    )
    task = world.ended(world.deploy(world.release(project), environment))
    assert "here this step" in world.printed(task)


def test_values_refer_to_each_other(world: World) -> None:
    value = f"{OPEN}Name}}-{OPEN}Octopus.Release.Number}}"
    task = world.deployed(
        python("print(get_octopusvariable('Wait.Project'))", properties={"Wait.Project": value}),
        variables=[variable("Name", "Shop")],
    )  # fmt: skip
    assert "Shop-1.0.0" in world.printed(task)


def test_output_variables_have_three_spellings(world: World) -> None:
    read = "\n".join(
        f"print(get_octopusvariable({name!r}))"
        for name in (
            "Octopus.Action[First].Output.Color",
            "Octopus.Action[First].Output[Worker].Color",
            "Color",
        )
    )
    task = world.deployed(python("set_octopusvariable('Color', 'red')", "First"), python(read, "Second"))
    assert ["red", "red", "red"] == world.printed(task)


def test_secrets_reach_the_script_and_no_log(world: World) -> None:
    body = (
        "print(get_octopusvariable('Wait.Key') == 'k3y', get_octopusvariable('Project.Key') == 'pr0ject')\n"
        "print(get_octopusvariable('Wait.Key'), get_octopusvariable('Project.Key'))\n"
        "set_octopusvariable('Made', 'm4de', True)\n"
    )
    second = "print(get_octopusvariable('Octopus.Action[Do].Output.Made'))"
    task = world.deployed(
        python(body, properties={"Wait.Key": {"HasValue": True, "NewValue": "k3y"}}),
        python(second, "Then"),
        variables=[secret("Project.Key", "pr0ject")],
    )
    assert ["True True", "******** ********", "********"] == world.printed(task)
    for path in (
        f"tasks/{task['Id']}/raw",
        f"tasks/{task['Id']}/details",
        "variables/variableset-Deployments-1",
    ):
        text = world.api.get(path).text
        assert not any(value in text for value in ("k3y", "pr0ject", "m4de")), path


def test_the_manifest_is_readable(world: World) -> None:
    world.deployed(step("A"), variables=[variable("Reason", "x"), secret("Key", "s3cret")])
    found = {
        item["Name"]: item["Value"] for item in world.get("variables/variableset-Deployments-1")["Variables"]
    }
    assert {"Reason": "x", "Key": None} == found


def test_artifacts_are_collected_after_the_script(world: World) -> None:
    body = (
        "import pathlib\n"
        "pathlib.Path('report.txt').write_text('early')\n"
        "createartifact('report.txt', 'Report.txt')\n"
        "createartifact('missing.txt')\n"
        "pathlib.Path('report.txt').write_text('late')\n"
        "failstep('and it failed')\n"
    )
    task = world.deployed(python(body))
    [artifact] = world.get("artifacts", regarding=task["Id"])["Items"]
    assert ("Report.txt", task["Id"]) == (artifact["Filename"], artifact["ServerTaskId"])
    assert b"late" == world.web.get(artifact["Links"]["Content"]).content
    for related in ("Deployments-1", "Projects-1", "Environments-1", "Releases-1"):
        assert 1 == world.get("artifacts", regarding=related)["TotalResults"], related
    assert any("could not be collected" in text for _, text in world.log(task))


def test_artifacts_by_hand(world: World) -> None:
    task = world.deployed(step("A"))
    made = world.post("artifacts", {"Filename": "a.txt", "ServerTaskId": task["Id"], "SpaceId": "Spaces-1"})
    path = made["Links"]["Content"]
    assert 404 == world.web.get(path).status_code
    assert 204 == world.web.put(path, content=b"hello").status_code
    assert b"hello" == world.web.get(path).content
    assert 405 == world.web.put(path, content=b"again").status_code


def test_progress_is_shown_while_it_lasts(world: World) -> None:
    project = world.project("Web", python("updateprogress(40, 'almost half')\nwhile True: pass"))
    deployment = world.deploy(world.release(project), world.environment())

    def messages() -> list[str]:
        return [node.progress_message for _, node in world.task(deployment).root.walk()]

    deadline = time.monotonic() + 20
    while "almost half" not in messages():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [root] = world.get(f"tasks/{deployment['TaskId']}/details")["ActivityLogs"]
    assert (40, "almost half") == (
        root["Children"][0]["Children"][0]["ProgressPercentage"],
        root["Children"][0]["Children"][0]["ProgressMessage"],
    )
    world.post(f"tasks/{deployment['TaskId']}/cancel")
    world.ended(deployment)


def test_a_step_is_tried_again(world: World, tmp_path: object) -> None:
    body = (
        f"import pathlib\nmarks = pathlib.Path({str(tmp_path)!r})\n"
        "tries = len(list(marks.iterdir()))\n(marks / str(tries)).write_text('')\n"
        "if tries < 2: failstep('not yet')\n"
    )
    retries = {"Octopus.Action.AutoRetry.MaximumCount": "3", "Octopus.Action.AutoRetry.MinimumBackoff": "15"}
    task = world.deployed(python(body, properties=retries))
    assert "Success" == task["State"]
    assert ["Attempt 1 failed: not yet", "Attempt 2 failed: not yet"] == [
        text for category, text in world.log(task) if category == "Warning"
    ]


def test_retries_end(world: World) -> None:
    task = world.deployed(lasting(0, outcome="failure", action=None, StartTrigger="StartAfterPrevious"))
    assert "Failed" == task["State"]
    task = world.ended(
        world.deploy(
            world.release(
                world.project(
                    "Other",
                    step(
                        "Do",
                        properties={
                            "octosteps.emulator.outcome": "failure",
                            "Octopus.Action.AutoRetry.MaximumCount": "99",
                        },
                    ),
                )
            ),
            world.get("environments/all")[0],
        )
    )
    assert 3 == sum(1 for category, _ in world.log(task) if category == "Warning"), "never more than three"


def test_a_time_limit_kills_the_script(world: World) -> None:
    """OctopusDeploy/Issues 8776."""
    task = world.deployed(
        python("while True: pass", properties={"Octopus.Action.ExecutionTimeout.Minutes": "1"})
    )
    assert ("Failed", "Execution timeout of 1 minute(s) reached. Action Do has been cancelled.") == (
        task["State"],
        task["ErrorMessage"],
    )


def test_roles_run_a_step_on_each_machine(world: World) -> None:
    environment = world.environment()
    for name in ("web01", "web02"):
        world.post("machines", {"Name": name, "EnvironmentIds": [environment["Id"]], "Roles": ["web"]})
    world.post(
        "machines",
        {"Name": "off", "EnvironmentIds": [environment["Id"]], "Roles": ["web"], "IsDisabled": True},
    )
    body = "here = get_octopusvariable('Octopus.Machine.Name')\nprint(here)\nset_octopusvariable('At', here)"
    project = world.project(
        "Web",
        python(body, "Each", step_properties={"Octopus.Action.TargetRoles": "web"}),
        python("print(get_octopusvariable('Octopus.Action[Each].Output[web01].At'))", "After"),
        step("Nobody", step_properties={"Octopus.Action.TargetRoles": "mainframe"}),
    )
    task = world.ended(world.deploy(world.release(project), environment))
    assert [
        "web01",
        "web02",
        "web01",
        "Skipping this step as no machine has one of its roles in this environment",
    ] == world.printed(task)
    assert "Skipped" == world.steps(task)["Nobody"]


def test_the_actions_of_one_step_follow_each_other(world: World) -> None:
    rolling = {
        "Name": "Roll",
        "Actions": [
            {"Name": "One", "ActionType": "Octopus.Script"},
            {
                "Name": "Two",
                "ActionType": "Octopus.Script",
                "Properties": {"octosteps.emulator.outcome": "failure"},
            },
            {"Name": "Three", "ActionType": "Octopus.Script"},
        ],
    }
    task = world.deployed(rolling)
    [root] = world.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
    assert [("Step 1.1: One", "Success"), ("Step 1.2: Two", "Failed"), ("Step 1.3: Three", "Skipped")] == [
        (child["Name"], child["Status"]) for child in root["Children"][0]["Children"]
    ]


# --- prompts and tenants -------------------------------------------------------------------------------------------


def test_prompted_variables(world: World) -> None:
    project = world.project("Web", python("print(get_octopusvariable('Reason'))"))
    world.set_variables(project, variable("Reason", "", Prompt={"Label": "Why", "Required": True}))
    release, environment = world.release(project), world.environment()
    answer = world.api.post(
        "deployments", json={"ReleaseId": release["Id"], "EnvironmentId": environment["Id"]}
    )
    assert (400, "The variable 'Reason' is required.") == (answer.status_code, answer.json()["Errors"][0])
    preview = world.get(f"releases/{release['Id']}/deployments/preview/{environment['Id']}")
    [element] = preview["Form"]["Elements"]
    task = world.ended(world.deploy(release, environment, FormValues={element["Name"]: "because"}))
    assert ["because"] == world.printed(task)


def test_the_create_command_deploys_by_name(world: World) -> None:
    environment = world.environment("Test")
    project = world.project("Web", python("print(get_octopusvariable('Reason'))"), step("Skipped"))
    world.set_variables(project, variable("Reason", "", Prompt={"Label": "Why", "Required": True}))
    world.release(project)
    command = {
        "SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web", "ReleaseVersion": "1.0.0",
        "EnvironmentNames": ["test"], "Variables": {"reason": "because"}, "SkipStepNames": ["Skipped", "Unknown"],
    }  # fmt: skip
    [made] = world.post("deployments/create/untenanted/v1", command)["DeploymentServerTasks"]
    task = world.ended({"TaskId": made["ServerTaskId"]})
    assert "because" in world.printed(task)
    assert "Skipped" == world.steps(task)["Skipped"]
    assert environment["Id"] == world.get(f"deployments/{made['DeploymentId']}")["EnvironmentId"]
    assert (
        []
        == world.post("deployments/create/untenanted/v1", {**command, "EnvironmentNames": []})[
            "DeploymentServerTasks"
        ]
    )
    assert (
        400
        == world.api.post(
            "deployments/create/untenanted/v1", json={**command, "ReleaseVersion": "9"}
        ).status_code
    )


def tenanted(world: World) -> tuple[Json, Json, Json]:
    environment = world.environment()
    script = python("print(get_octopusvariable('Octopus.Deployment.Tenant.Name'))")
    project = world.project("Web", script, TenantedDeploymentMode="TenantedOrUntenanted")
    tenant = world.post(
        "tenants",
        {
            "Name": "Acme",
            "TenantTags": ["Regions/EMEA"],
            "ProjectEnvironments": {project["Id"]: [environment["Id"]]},
        },
    )
    return project, environment, tenant


def test_a_connected_tenant_is_deployed_to(world: World) -> None:
    project, environment, tenant = tenanted(world)
    task = world.ended(world.deploy(world.release(project), environment, TenantId=tenant["Id"]))
    assert (["Acme"], "Deploy Web release 1.0.0 to Test for Acme") == (
        world.printed(task),
        task["Description"],
    )
    assert [task["Id"]] == [item["Id"] for item in world.get("tasks", tenant=tenant["Id"])["Items"]]


def test_tenants_that_do_not_fit_are_refused(world: World) -> None:
    project, environment, tenant = tenanted(world)
    other = world.post("tenants", {"Name": "Other"})
    release = world.release(project)
    body = {"ReleaseId": release["Id"], "EnvironmentId": environment["Id"]}
    assert 400 == world.api.post("deployments", json={**body, "TenantId": other["Id"]}).status_code
    world.put(f"projects/{project['Id']}", {**project, "TenantedDeploymentMode": "Tenanted"})
    assert 400 == world.api.post("deployments", json=body).status_code
    world.put(f"projects/{project['Id']}", {**project, "TenantedDeploymentMode": "Untenanted"})
    assert 400 == world.api.post("deployments", json={**body, "TenantId": tenant["Id"]}).status_code
    assert 0 == world.get("deployments")["TotalResults"]


def test_the_tenanted_command_chooses_by_name_tag_or_star(world: World) -> None:
    project, _, tenant = tenanted(world)
    world.release(project)
    command = {
        "SpaceId": "Spaces-1", "SpaceIdOrName": "Spaces-1", "ProjectName": "Web", "ReleaseVersion": "1.0.0",
        "EnvironmentName": "Test",
    }  # fmt: skip
    for choice in ({"Tenants": ["Acme"]}, {"Tenants": ["*"]}, {"TenantTags": ["Regions/EMEA"]}):
        [made] = world.post("deployments/create/tenanted/v1", {**command, **choice})["DeploymentServerTasks"]
        world.ended({"TaskId": made["ServerTaskId"]})
        assert tenant["Id"] == world.get(f"deployments/{made['DeploymentId']}")["TenantId"]
    assert [] == world.post("deployments/create/tenanted/v1", command)["DeploymentServerTasks"]


def test_the_dashboard_shows_what_is_where(world: World) -> None:
    environment = world.environment()
    project = world.project("Web", step("A"))
    good_one = world.deploy(world.release(project, "1.0.0"), environment)
    world.ended(good_one)
    world.set_steps(project, lasting(0, outcome="failure"))
    bad_one = world.deploy(world.release(project, "1.1.0"), environment)
    world.ended(bad_one)
    items = world.get("dashboard/dynamic", projects=project["Id"], includePrevious="true")["Items"]
    assert [
        (bad_one["Id"], "1.1.0", "Failed", True, False),
        (good_one["Id"], "1.0.0", "Success", False, True),
    ] == [
        (item["Id"], item["ReleaseVersion"], item["State"], item["IsCurrent"], item["IsPrevious"])
        for item in items
    ]
    assert 1 == len(world.get("dashboard/dynamic")["Items"]), "the previous one only when asked"
    assert ["Web"] == [item["Name"] for item in world.get("dashboard")["Projects"]]


def test_names_of_activities_are_stable() -> None:
    root = Activity(id="t", name="root")
    root.child("a").child("b")
    root.child("c")
    assert [(0, "root"), (1, "a"), (2, "b"), (1, "c")] == [(depth, node.name) for depth, node in root.walk()]
