"""All results as one page."""


rule html_report:
    input:
        plan.targets(),
        figures.targets(plan),
        diagnosis.targets(plan),
        models="config/models.tsv",
    output:
        "<results>/report.html",
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output[0], parent=True),
        options=lambda _: plan.options(
            workflow.configfiles, workflow.config_settings.config_args
        ),
        code=plan.code("analysis.report"),
    shell:
        "python -m analysis.report {params.folder:q} --options={params.options:q}"
        " --models {input.models:q} --output {output:q} > {log:q} 2>&1"
