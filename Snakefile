"""The whole benchmark: data, trainings, evaluations, complexity, tables, figures.

snakemake --cores all                                  the demo (config/config.yaml)
snakemake --cores 8 --configfile config/coco.yaml      the paper's Table 1 on COCO
snakemake --cores 2 released --config coco_root=DIR    the authors' checkpoints, docs/weights.md
"""

# Only where no other is given: Snakemake would merge the two, and the demo's settings leak.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=RESULTS,


wildcard_constraints:
    model="[a-z0-9-]+",
    seed="[0-9]+",
    boxes="gt|det",


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        "<results>/tables/table1.html",
        "<results>/figures/figure1.svg",
        "<results>/figures/figure8.svg",
        expand("<results>/figures/overlays_{model}.png", model=config["models"]),
        # What they are made from, so that it is made again where it is missing.
        "<results>/complexity.csv",
        result_files("training.jsonl"),
        result_files("metrics_{boxes}.json", boxes=BOXES),
    localrule: True


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/complexity.smk"
include: "workflow/rules/present.smk"
include: "workflow/rules/released.smk"


onstart:
    check_data()


onsuccess:
    print(summary())
