"""Score bundled images, keep 30 % of them in three ways, and train on each for equally many steps."""

import datadiet as dd

MODEL, RECIPE = "datadiet:mlp", dd.Recipe(batch_size=64)
EPOCHS = 10

scores = dd.score("digits", MODEL, ["el2n", "aum"], epochs=EPOCHS, seeds=2, recipe=RECIPE)
selections = {
    "random": dd.select(scores, "random", keep="30%"),
    "hardest": dd.select(scores, "top_k", keep="30%", score="el2n", prefer="hardest"),
    "CCS": dd.select(scores, "ccs", keep="30%"),
}

full = dd.train("digits", MODEL, epochs=EPOCHS, recipe=RECIPE)
print(f"{'full data':10} {full.kept:5} examples  {full.steps} steps  {full.accuracy:.1%}")
for name, selection in selections.items():
    result = dd.train("digits", MODEL, selection, epochs=EPOCHS, match="full-steps", recipe=RECIPE)
    print(f"{name:10} {result.kept:5} examples  {result.steps} steps  {result.accuracy:.1%}")
