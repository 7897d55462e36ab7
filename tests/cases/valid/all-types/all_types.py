"""Reads every type."""

from __future__ import annotations


def main(parameters):
    found = (
        parameters.a_text,
        parameters.a_lines,
        parameters.a_pairs,
        parameters.a_boolean,
        parameters.a_integer,
        parameters.a_duration,
        parameters.a_moment,
        parameters.a_choice,
        parameters.a_secret,
        parameters.a_version_range,
        parameters.a_step,
        parameters.a_package,
        parameters.a_worker_pool,
        parameters.a_certificate,
        parameters.a_aws_account,
        parameters.a_azure_account,
        parameters.a_google_account,
        parameters.a_generic_oidc_account,
        parameters.a_username_password_account,
    )
    return found
