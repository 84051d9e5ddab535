"""One stack: the component's version, from what ``deploy/build.sh`` made, and its deployment to a thing or thing group.

What is deployed stands in ``cdk.json`` under ``context``, or on the command line (``-c target=thinggroup/vans``):

- ``target``: ``thing/NAME`` or ``thinggroup/NAME``. A deployment replaces the one that its target had, so
- ``components``: what else the target is to run, as ``{"NAME": {"componentVersion": "1.0.0", "merge": {...}}}``;
- ``configuration``: the component's, with the keys of docs/configuration.md;
- ``secret``: the ARN of the GX's password in Secrets Manager, where it is there;
- ``role``: the name of the cores' token exchange role, to allow it the archives and the secret, and no more;
- ``things``: those of further GX, whose shadows are synchronized too.

``shadowManagerVersion`` and ``secretManagerVersion`` are those of the region. ``build`` is another greengrass-build.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import yaml
from aws_cdk import aws_greengrassv2 as greengrass
from aws_cdk import aws_iam as iam
from aws_cdk.aws_s3_assets import Asset

DEPLOY = Path(__file__).resolve().parent.parent
#: What the build leaves to be filled in.
ARTIFACTS = "s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/"
SHADOW_MANAGER, SECRET_MANAGER = "aws.greengrass.ShadowManager", "aws.greengrass.SecretManager"


class VictronTwin(cdk.Stack):
    def __init__(self, scope: cdk.App, build: Path) -> None:
        super().__init__(scope, "VictronTwin")
        if not self._given("target"):
            raise SystemExit("target is missing: cdk.json, or -c target=thinggroup/NAME")
        archives = sorted(build.glob("artifacts/*/*/*.zip"))
        if not archives:
            raise SystemExit(f"there is nothing in {build}: run sh deploy/build.sh first")
        assets = {file.name: Asset(self, file.stem, path=str(file)) for file in archives}
        recipe = (build / "recipes" / "recipe.yaml").read_text()
        for name, asset in assets.items():
            recipe = recipe.replace(ARTIFACTS + name, asset.s3_object_url)
        component = greengrass.CfnComponentVersion(self, "Version", inline_recipe=recipe)
        # Cores can go back to it when the next version has taken its place here.
        component.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        name = yaml.safe_load(recipe)["ComponentName"]
        deployment = greengrass.CfnDeployment(
            self,
            "Deployment",
            deployment_name=name,
            target_arn=f"arn:{self.partition}:iot:{self.region}:{self.account}:{self._given('target')}",
            components={
                **{other: deployed(**what) for other, what in self._given("components").items()},
                **self._components(name, component.attr_component_version),
            },
            deployment_policies=greengrass.CfnDeployment.DeploymentPoliciesProperty(
                # The twin may put an update off while a command is under way.
                component_update_policy=greengrass.CfnDeployment.DeploymentComponentUpdatePolicyProperty(
                    action="NOTIFY_COMPONENTS", timeout_in_seconds=60
                ),
                failure_handling_policy="ROLLBACK",
            ),
        )
        if self._given("role"):
            deployment.node.add_dependency(self._permissions(assets.values()))

    def _given(self, name: str) -> Any:
        value = self.node.try_get_context(name)
        # On the command line everything is text.
        return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value or {}

    def _components(self, name: str, version: str) -> dict[str, Any]:
        merge = dict(self._given("configuration"))
        shadow_manager = json.loads((DEPLOY / "shadow-manager.json").read_text())
        synchronize = shadow_manager["synchronize"]
        if self._given("things"):
            synchronize["shadowDocumentsMap"] = dict.fromkeys(self._given("things"), synchronize["coreThing"])
        components = {SHADOW_MANAGER: deployed(self._given("shadowManagerVersion"), shadow_manager)}
        secret = self._given("secret")
        if secret:
            merge["gx"] = with_password(merge.get("gx", {}), secret)
            control = {SECRET_MANAGER: {f"{name}:secret:1": reading(secret)}}
            merge["accessControl"] = {**merge.get("accessControl", {}), **control}
            cloud_secrets = {"cloudSecrets": [{"arn": secret}]}
            components[SECRET_MANAGER] = deployed(self._given("secretManagerVersion"), cloud_secrets)
        # What an earlier version's permissions were would stay otherwise.
        return {name: deployed(version, merge, reset=["/accessControl"]), **components}

    def _permissions(self, assets: Any) -> iam.Policy:
        archives = [f"arn:{self.partition}:s3:::{asset.s3_bucket_name}/{asset.s3_object_key}" for asset in assets]
        statements = [iam.PolicyStatement(actions=["s3:GetObject"], resources=archives)]
        if self._given("secret"):
            statements.append(
                iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[self._given("secret")])
            )
        role = iam.Role.from_role_name(self, "Role", self._given("role"))
        return iam.Policy(self, "Permissions", roles=[role], statements=statements)


def deployed(componentVersion: str, merge: Mapping[str, Any] = {}, reset: Sequence[str] = ()) -> Any:
    return greengrass.CfnDeployment.ComponentDeploymentSpecificationProperty(
        component_version=componentVersion,
        configuration_update=greengrass.CfnDeployment.ComponentConfigurationUpdateProperty(
            merge=json.dumps(merge), reset=list(reset) or None
        ),
    )


def with_password(gx: Any, secret: str) -> Any:
    """The configuration of the GX, or of several, with the secret for the first."""
    if isinstance(gx, list):
        return [with_password(gx[0], secret), *gx[1:]]
    return {**gx, "password_secret": secret}


def reading(secret: str) -> Mapping[str, Any]:
    return {
        "policyDescription": "Reads the GX's password.",
        "operations": ["aws.greengrass#GetSecretValue"],
        "resources": [secret],
    }


if __name__ == "__main__":
    app = cdk.App()
    VictronTwin(app, Path(app.node.try_get_context("build") or DEPLOY.parent / "greengrass-build"))
    app.synth()
