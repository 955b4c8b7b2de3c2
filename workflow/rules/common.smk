"""The plan that the rules ask, made from the checked config."""

import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from pose.support.errors import PoseError
from workflow import diagnosis, figures
from workflow.memory import traffic
from workflow.plan import Plan, stop
from workflow.published import Published
from workflow.settings import read, require_single_keys

try:
    for file in workflow.configfiles:
        require_single_keys(Path(file))
    plan = Plan(
        read(config, workflow.config_settings.config_args), several="runs" in config
    )
    published = Published(plan.config, plan.results)
except PoseError as error:
    stop(error)


def what_is_stale(wildcards):
    """No input; what is there but out of date is made again, with or without .snakemake."""
    if workflow.is_main_process:
        stale = plan.check(workflow.dag_settings.targets)
        workflow.dag.forcefiles.update(stale)
    return []


# A GPU's share of the cores, up to what feeds the fastest net; on a CPU there are many jobs.
gpu_limit = workflow.global_resources.get("gpu")
loader_threads = plan.loader_threads(
    workflow.resource_settings.cores, gpu_limit and gpu_limit.value
)


def failed_before(wildcards):
    """No input; files that could not be had are asked for again by the next call."""
    if workflow.is_main_process:
        workflow.dag.forcefiles.update(published.failed)
    return []


def evaluated(wildcards):
    """The metrics of the files that could be had, which is known after they were fetched."""
    checkpoints.obtain_published.get(table=wildcards.table)
    return published.metrics(wildcards.table)
