"""The CDK's stack, synthesized as the CDK's command line does it: context and output folder come in the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import need
from .parts import DEPLOY, JAVA, script

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ARCHITECTURES = sorted(script("build.py")["ARCHITECTURES"])
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx-AbCdEf"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A ``greengrass-build`` with next to nothing in it."""
    version = JAVA.recipe["ComponentVersion"]
    artifacts = tmp_path / "greengrass-build" / "artifacts" / JAVA.name / version
    artifacts.mkdir(parents=True)
    for architecture in ARCHITECTURES:
        with zipfile.ZipFile(artifacts / f"victron-twin-{architecture}.zip", "w") as archive:
            archive.writestr("architecture", architecture)
    (tmp_path / "greengrass-build" / "recipes").mkdir()
    shutil.copy(JAVA.folder / "recipe.yaml", tmp_path / "greengrass-build" / "recipes")
    return tmp_path / "greengrass-build"


def synthesize(out: Path, **context: Any) -> subprocess.CompletedProcess[str]:
    need(find_spec("aws_cdk"), "aws-cdk-lib: pip install -e '.[deploy]'")
    need(shutil.which("node"), "node: apt-get install nodejs")
    defaults = json.loads((DEPLOY / "cdk" / "cdk.json").read_text())["context"]
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=DEPLOY / "cdk",
        env={**os.environ, "CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps({**defaults, **context})},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def template(out: Path, **context: Any) -> dict[str, Any]:
    """The resources by type; references are texts such as ``${AWS::Region}``."""
    done = synthesize(out, **context)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "VictronTwin.template.json").read_text())
    return {resource["Type"]: resource for resource in content["Resources"].values()}


def text(value: Any) -> str:
    """What Fn::Join and Fn::Sub make, with their references named."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        return str(argument[0]).join(map(text, argument[1]))
    return str(argument) if function == "Fn::Sub" else f"<{argument}>"


def test_the_stack(built: Path, tmp_path: Path) -> None:
    resources = template(
        tmp_path / "out",
        build=str(built),
        target="thinggroup/vans",
        configuration={"gx": [{"host": "192.168.1.20"}, {"host": "192.168.1.21"}]},
        secret=SECRET,
        role="GreengrassV2TokenExchangeRole",
        things=["van-7-trailer"],
        components={"org.example.Other": {"componentVersion": "1.2.3"}},
    )
    version = resources["AWS::GreengrassV2::ComponentVersion"]
    recipe = yaml.safe_load(text(version["Properties"]["InlineRecipe"]))
    archives = [manifest["Artifacts"][0].pop("Uri") for manifest in recipe["Manifests"]]
    bucket = "s3://cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}/"
    assert len(set(archives)) == 2
    assert all(archive.startswith(bucket) and archive.endswith(".zip") for archive in archives)
    expected = dict(JAVA.recipe)
    for manifest in expected["Manifests"]:
        del manifest["Artifacts"][0]["Uri"]
    assert recipe == expected
    assert version["DeletionPolicy"] == version["UpdateReplacePolicy"] == "Retain"

    deployment = resources["AWS::GreengrassV2::Deployment"]["Properties"]
    assert text(deployment["TargetArn"]).endswith(":thinggroup/vans")
    assert deployment["DeploymentPolicies"]["FailureHandlingPolicy"] == "ROLLBACK"
    components = deployment["Components"]
    merged = {name: json.loads(each["ConfigurationUpdate"]["Merge"]) for name, each in components.items()}
    assert components["org.example.Other"]["ComponentVersion"] == "1.2.3"
    assert components[JAVA.name]["ComponentVersion"] == {"Fn::GetAtt": ["Version", "ComponentVersion"]}
    assert components[JAVA.name]["ConfigurationUpdate"]["Reset"] == ["/accessControl"]
    assert merged[JAVA.name]["gx"] == [
        {"host": "192.168.1.20", "password_secret": SECRET},
        {"host": "192.168.1.21"},
    ]
    ((policy, reading),) = merged[JAVA.name]["accessControl"]["aws.greengrass.SecretManager"].items()
    assert policy == f"{JAVA.name}:secret:1"
    assert (reading["operations"], reading["resources"]) == (["aws.greengrass#GetSecretValue"], [SECRET])
    assert merged["aws.greengrass.SecretManager"] == {"cloudSecrets": [{"arn": SECRET}]}
    synchronize = merged["aws.greengrass.ShadowManager"]["synchronize"]
    own = json.loads((DEPLOY / "shadow-manager.json").read_text())["synchronize"]
    assert synchronize == {**own, "shadowDocumentsMap": {"van-7-trailer": own["coreThing"]}}

    permissions = resources["AWS::IAM::Policy"]["Properties"]
    assert permissions["Roles"] == ["GreengrassV2TokenExchangeRole"]
    allowed = {each["Action"]: each["Resource"] for each in permissions["PolicyDocument"]["Statement"]}
    assert {text(arn).partition(":s3:::")[2] for arn in allowed.pop("s3:GetObject")} == {
        archive.removeprefix("s3://") for archive in archives
    }
    assert allowed == {"secretsmanager:GetSecretValue": SECRET}


def test_the_least_of_it(built: Path, tmp_path: Path) -> None:
    resources = template(
        tmp_path / "out", build=str(built), target="thing/van-7", configuration='{"gx": {"host": "x"}}'
    )
    assert "AWS::IAM::Policy" not in resources
    components = resources["AWS::GreengrassV2::Deployment"]["Properties"]["Components"]
    assert set(components) == {JAVA.name, "aws.greengrass.ShadowManager"}
    assert json.loads(components[JAVA.name]["ConfigurationUpdate"]["Merge"]) == {"gx": {"host": "x"}}


def test_what_is_not_built_is_said(tmp_path: Path) -> None:
    done = synthesize(tmp_path / "out", build=str(tmp_path), target="thing/van-7")
    assert done.returncode == 1
    assert f"there is nothing in {tmp_path}: run sh deploy/build.sh first" in done.stderr
