"""Figures: of the nets themselves, and from the result files. Most are written in three formats."""


rule graph:
    output:
        "<results>/graphs.json",
    log:
        "<results>/logs/graph.log",
    benchmark:
        "<results>/benchmarks/graph.tsv"
    conda:
        "../../environment.yml"
    params:
        models=figures.nets(plan),
        size=figures.size(plan),
        keypoints=len(next(iter(plan.runs.values())).dataset.keypoints),
        code=plan.code("pose.graph", *figures.nets(plan)),
    shell:
        "python -m pose.graph {params.models:q} --input {params.size:q}"
        " --num-keypoints {params.keypoints:q} --output {output:q} > {log:q} 2>&1"


rule architecture:
    input:
        "<results>/graphs.json",
    output:
        "<results>/figures/figure2.png",
        "<results>/figures/figure2.pdf",
        "<results>/figures/figure3.png",
        "<results>/figures/figure3.pdf",
        "<results>/figures/figure4.png",
        "<results>/figures/figure4.pdf",
        "<results>/figures/figure5.png",
        "<results>/figures/figure5.pdf",
        overview=report(
            "<results>/figures/figure2.svg",
            caption="../report/architecture.rst",
            category="Figures",
            labels={"figure": "2", "shows": "both nets by scale"},
        ),
        backbone=report(
            "<results>/figures/figure3.svg",
            caption="../report/architecture.rst",
            category="Figures",
            labels={"figure": "3", "shows": "the backbones"},
        ),
        neck=report(
            "<results>/figures/figure4.svg",
            caption="../report/architecture.rst",
            category="Figures",
            labels={"figure": "4", "shows": "the necks"},
        ),
        head=report(
            "<results>/figures/figure5.svg",
            caption="../report/architecture.rst",
            category="Figures",
            labels={"figure": "5", "shows": "the heads"},
        ),
    log:
        "<results>/logs/architecture.log",
    benchmark:
        "<results>/benchmarks/architecture.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.overview, parent=True),
        code=plan.code("analysis.architecture"),
    shell:
        "python -m analysis.architecture --graphs {input:q} --output-dir {params.folder:q}"
        " > {log:q} 2>&1"


rule figure1:
    input:
        plan.files("metrics_{boxes}.json"),
        complexity="<results>/complexity.csv",
        latency="<results>/latency.csv",
        counted="config/counted.csv",
        models="config/models.tsv",
    output:
        "<results>/figures/figure1.png",
        "<results>/figures/figure1.pdf",
        "<results>/figures/figure1_today.png",
        "<results>/figures/figure1_today.pdf",
        ours=report(
            "<results>/figures/figure1.svg",
            caption="../report/figure1.rst",
            category="Figures",
            labels={"figure": "1", "shows": "AP against cost"},
        ),
        today=report(
            "<results>/figures/figure1_today.svg",
            caption="../report/figure1_today.rst",
            category="Figures",
            labels={"figure": "1 today", "shows": "what is reported since 2022"},
        ),
    log:
        "<results>/logs/figure1.log",
    benchmark:
        "<results>/benchmarks/figure1.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.ours, parent=True),
        places=plan.folders(),
        code=plan.code("analysis.figure1"),
    shell:
        "python -m analysis.figure1 {params.places:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule figure8:
    input:
        plan.files("training.jsonl", plan.ablation()),
        models="config/models.tsv",
    output:
        "<results>/figures/figure8.png",
        "<results>/figures/figure8.pdf",
        svg=report(
            "<results>/figures/figure8.svg",
            caption="../report/figure8.rst",
            category="Figures",
            labels={"figure": "8", "shows": "convergence and learning rate"},
        ),
    log:
        "<results>/logs/figure8.log",
    benchmark:
        "<results>/benchmarks/figure8.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.svg, parent=True),
        places=plan.folders(plan.ablation()),
        code=plan.code("analysis.figure8"),
    shell:
        "python -m analysis.figure8 {params.places:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule training_figure:
    input:
        plan.files("performance.jsonl"),
        models="config/models.tsv",
    output:
        "<results>/figures/training.png",
        "<results>/figures/training.pdf",
        svg=report(
            "<results>/figures/training.svg",
            caption="../report/training.rst",
            category="Figures",
            labels={"figure": "-", "shows": "loss and speed of the trainings"},
        ),
    log:
        "<results>/logs/training_figure.log",
    benchmark:
        "<results>/benchmarks/training_figure.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.svg, parent=True),
        places=plan.folders(),
        code=plan.code("analysis.training"),
    shell:
        "python -m analysis.training {params.places:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule heat_maps:
    input:
        lambda _: plan.data_of(figures.with_maps(plan)[0], "val"),
        weights=[
            figures.first_seed(plan, run, "weights.safetensors")
            for run in figures.with_maps(plan)
        ],
    output:
        "<results>/heat_maps.npz",
    log:
        "<results>/logs/heat_maps.log",
    benchmark:
        "<results>/benchmarks/heat_maps.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=lambda _: plan.runs[figures.with_maps(plan)[0]].settings.data_root,
    params:
        code=plan.code(
            "pose.maps", *[plan.runs[run].model for run in figures.with_maps(plan)]
        ),
    shell:
        "python -m pose.maps {input.weights:q} --data-root {resources.data_root:q} --output {output:q}"
        " > {log:q} 2>&1"


rule figure9:
    input:
        maps="<results>/heat_maps.npz",
        models="config/models.tsv",
    output:
        "<results>/figures/figure9.png",
        "<results>/figures/figure9.pdf",
        svg=report(
            "<results>/figures/figure9.svg",
            caption="../report/figure9.rst",
            category="Figures",
            labels={"figure": "9", "shows": "heat maps by scale"},
        ),
    log:
        "<results>/logs/figure9.log",
    benchmark:
        "<results>/benchmarks/figure9.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.svg, parent=True),
        code=plan.code("analysis.figure9"),
    shell:
        "python -m analysis.figure9 --maps {input.maps:q} --models {input.models:q}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


rule qualitative:
    input:
        lambda wildcards: plan.data_of(figures.example(plan, wildcards.grid), "val"),
        predictions=lambda wildcards: figures.first_seed(
            plan, figures.example(plan, wildcards.grid), "predictions_gt.npz"
        ),
    output:
        pdf="<results>/figures/figure{grid}.pdf",
        svg="<results>/figures/figure{grid}.svg",
        png=report(
            "<results>/figures/figure{grid}.png",
            caption="../report/overlays.rst",
            category="Figures",
            labels={"figure": "{grid}", "shows": "easy, typical and worst persons"},
        ),
    log:
        "<results>/logs/figure{grid}.log",
    benchmark:
        "<results>/benchmarks/figure{grid}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=lambda wildcards: plan.runs[
            figures.example(plan, wildcards.grid)
        ].settings.data_root,
    params:
        dataset=lambda wildcards: plan.runs[
            figures.example(plan, wildcards.grid)
        ].settings.dataset,
        code=plan.code("analysis.overlays"),
    shell:
        "python -m analysis.overlays --dataset {params.dataset:q} --predictions {input.predictions:q}"
        " --data-root {resources.data_root:q} --output {output.png:q} {output.pdf:q} {output.svg:q}"
        " > {log:q} 2>&1"


rule overlays:
    input:
        plan.data_files("val"),
        predictions=f"<results>/{{run}}/seed{plan.config.seeds[0]}/predictions_gt.npz",
    output:
        report(
            "<results>/figures/overlays_{run}.png",
            caption="../report/overlays.rst",
            category="Predictions",
            labels={"run": "{run}"},
        ),
    log:
        "<results>/logs/overlays/{run}.log",
    benchmark:
        "<results>/benchmarks/overlays/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        data_root=plan.data_root,
    params:
        dataset=lambda wildcards: plan.runs[wildcards.run].settings.dataset,
        code=plan.code("analysis.overlays"),
    shell:
        "python -m analysis.overlays --dataset {params.dataset:q} --predictions {input.predictions:q}"
        " --data-root {resources.data_root:q} --output {output:q} > {log:q} 2>&1"
