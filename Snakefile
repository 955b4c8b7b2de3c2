"""The whole benchmark: data, trainings, evaluations, complexity, tables, figures.

snakemake --cores all                                  the demo (config/config.yaml)
snakemake --cores 8 --configfile config/coco.yaml      the paper's Table 1 on COCO
snakemake --cores 2 released --config coco_root=DIR    the authors' checkpoints, docs/weights.md
"""

# Only where no other is given: Snakemake would merge the two, and the demo's settings leak.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_code.smk"


pathvars:
    results=RESULTS,


wildcard_constraints:
    run="[a-z0-9-]+",
    seed="[0-9]+",
    boxes="gt|det",
    number="[234]",


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        "<results>/tables/table1.html" if ablation_runs() else [],
        expand("<results>/tables/table{number}.html", number=comparisons()),
        "<results>/figures/figure1.svg",
        "<results>/figures/figure8.svg" if ablation_runs() else [],
        "<results>/figures/training.svg",
        expand("<results>/figures/samples_{run}.png", run=list(RUNS)[:1]),
        expand("<results>/figures/overlays_{run}.png", run=RUNS),
        # What they are made from, so that it is made again where it is missing.
        "<results>/complexity.csv",
        result_files("training.jsonl"),
        result_files("metrics_{boxes}.json"),
    localrule: True


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/complexity.smk"
include: "workflow/rules/present.smk"
include: "workflow/rules/released.smk"


onstart:
    hold_directory()
    check_data()


onsuccess:
    print(summary())
