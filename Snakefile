"""The whole benchmark: data, trainings, evaluations, complexity, tables, figures.

snakemake --cores all                                  the demo (config/config.yaml)
snakemake --cores 8 --configfile config/coco.yaml      the paper's Table 1 on COCO
snakemake --cores 2 published --config coco_root=DIR   every published checkpoint, docs/weights.md
"""

# Only where no other is given: Snakemake would merge the two, and the demo's settings leak.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=plan.results,


wildcard_constraints:
    run="|".join(plan.runs),
    seed="[0-9]+",
    boxes="gt|det",
    number="[234]",
    grid="[67]",


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        plan.targets(),
        figures.targets(plan),
        diagnosis.targets(plan),
        "<results>/report.html",
    localrule: True


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/complexity.smk"
include: "workflow/rules/present.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/diagnosis.smk"
include: "workflow/rules/published.smk"
include: "workflow/rules/report.smk"


# On a cluster the GPUs are other machines'.
onstart:
    jobs = list(workflow.dag.needrun_jobs())
    trains = any(job.rule.name == "train" for job in jobs)
    needs_gpu = workflow.local_exec and any(
        job.resources.get("gpu") for job in jobs
    )
    plan.start(workflow.dag_settings.targets, trains, needs_gpu)


onsuccess:
    print(plan.summary(workflow.dag_settings.targets))
