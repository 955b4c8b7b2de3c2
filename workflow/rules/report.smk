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
    resources:  # another call's options make no other report
        options=lambda _: plan.options(
            workflow.configfiles, workflow.config_settings.config_args
        ),
    params:
        folder=subpath(output[0], parent=True),
        code=plan.code("analysis.report"),
    shell:
        "python -m analysis.report {params.folder:q} --options={resources.options:q}"
        " --models {input.models:q} --output {output:q} > {log:q} 2>&1"
