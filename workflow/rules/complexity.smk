"""Parameters and multiply-adds of every model."""


rule complexity:
    output:
        "<results>/complexity.csv",
    log:
        "<results>/logs/complexity.log",
    benchmark:
        "<results>/benchmarks/complexity.tsv"
    conda:
        "../../environment.yml"
    params:
        models=config["models"],
        size="{}x{}".format(*config.get("complexity_input", config["input"])),
        keypoints=len(KEYPOINTS),
        code=code("complexity"),
    shell:
        "python -m pose.complexity {params.models} --input {params.size}"
        " --num-keypoints {params.keypoints} --csv {output} > {log} 2>&1"
