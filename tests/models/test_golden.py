"""Golden values from 50-digit arithmetic. The recipe is the test: each number is computed anew and held against the
stored one, so that neither the recipe nor the number can drift alone; the library is held against both."""

import mpmath
import naive
import numpy as np
import pytest

import nlicl
from nlicl import Params, Prompts
from nlicl.kernels.layers.loss import NAMES, slope, value

DIGITS = 50

# loss, F, z: value, slope. At 0, at the hinge's kink zF = 1 and one unit on either side, at the logistic loss's
# largest errors of a naive formula (log(1 + exp(-t)) at t = 37, where 1 + exp(-t) rounds to 1), and far out.
LOSSES = [
    ("hinge", "0", 1, "1", "-1"),
    ("hinge", "1", 1, "0", "0"),
    ("hinge", "-1", -1, "0", "0"),
    ("hinge", "-1", 1, "2", "-1"),
    ("hinge", "1", -1, "2", "1"),
    ("hinge", "0.9990234375", 1, "0.0009765625", "-1"),
    ("hinge", "1e300", 1, "0", "0"),
    ("hinge", "-1e300", 1, "1e+300", "-1"),
    ("logistic", "0", 1, "0.69314718055994530941723212145818", "-0.5"),
    ("logistic", "1", 1, "0.31326168751822283404899549496009", "-0.26894142136999512074975917685201"),
    ("logistic", "-1", 1, "1.313261687518222834048995494960", "-0.73105857863000487925024082314799"),
    ("logistic", "1", -1, "1.313261687518222834048995494960", "0.73105857863000487925024082314799"),
    ("logistic", "37", 1, "8.5330476257440657892e-17", "-8.5330476257440657888e-17"),
    ("logistic", "-37", 1, "37.000000000000000085330476257", "-0.99999999999999991466952374256"),
    ("logistic", "700", 1, "9.8596765437597708567e-305", "-9.8596765437597708567e-305"),
    ("logistic", "-700", 1, "700", "-1"),
    ("squared", "0", 1, "0.5", "-1"),
    ("squared", "1", 1, "0", "0"),
    ("squared", "-1", 1, "2", "-2"),
    ("squared", "1000", -1, "501000.5", "1001"),
]


@pytest.mark.parametrize(("loss", "F", "z", "golden_value", "golden_slope"), LOSSES)
def test_losses(loss, F, z, golden_value, golden_slope):
    """Relative 4 eps, in the tails of the logistic loss, too."""
    with mpmath.workdps(400):  # 1 + exp(-700) is not 1
        score, label = mpmath.mpf(F), mpmath.mpf(z)
        recipes = naive.loss(loss, score, label), naive.slope(loss, score, label)
    results = value(NAMES[loss], float(F), float(z)), slope(NAMES[loss], float(F), float(z))
    for recipe, golden, result in zip(recipes, (golden_value, golden_slope), results, strict=True):
        assert abs(recipe - mpmath.mpf(golden)) <= abs(recipe) * 1e-16 * 2
        assert abs(result - float(golden)) <= 4 * 2.3e-16 * abs(float(golden))


def small_problem():
    """Two prompts of three contexts, every entry a multiple of 1/8: the numbers are exact in any dtype. Of the four
    neurons the first prompt switches on three and the second two; l, d, m_a, m_b and m all differ."""
    eighths = lambda *rows: np.array(rows) / 8  # noqa: E731
    params = Params(
        W_Q=eighths([4, -2, 6, 1, 3], [-3, 5, 2, -4, 1]),
        W_K=eighths([5, 3, -2, 6, -1], [2, -6, 4, 1, 7]),
        W_V=eighths([6, -1, 3, 2, -4], [1, 7, -5, 4, 2], [-3, 2, 8, -6, 5]),
        W_O=eighths([5, -2, 3], [-4, 6, 1], [2, 3, -7], [-7, -5, 4]),
        a=eighths([4, -6, 3, 5])[0],
    )
    tokens = eighths(
        [8, 0, -4, 2, 8], [-2, 6, 8, 0, -8], [0, 8, 2, -6, 8], [8, 2, -2, 4, 0],
        [-4, 8, 0, 6, -8], [6, -2, 8, 4, 8], [2, 4, -8, 0, 8], [-2, 8, 4, 2, 0],
    ).reshape(2, 4, 5)  # fmt: skip
    return params, Prompts(tokens, [1, -1])


# Made by `recipe` below; rounded to the nearest float64.
MODEL = {
    "hinge": {
        "loss": "1.0441433873263442",
        "W_Q": """
            0.1073909873722077 0.0012124304877068903 -0.03740346534231165 0.04464773497245266 0.0
            0.17275201812394025 0.4381081406522818 0.11942616916601949 0.22575958651654546 0.0
        """,
        "W_K": """
            0.055766572803576824 -0.034462747132338545 -0.053435615595092 0.009485871396038936
            0.09186505075528627 -0.008378811128265867 -0.06029993890874611 0.3677384135557124
            0.044498537449347446 -0.1217707945303852
        """,
        "W_V": """
            0.18788776886186637 -0.05039036297148087 0.14757826587324718 0.15011867384045893
            0.30357075204596096 -0.1354129863314893 0.3464391203540154 0.06550791482694442
            -0.2087534711359051 -0.3157265923943144 0.003955334784909418 -0.12910366523359687
            -0.06785445501849995 0.044679792285833915 0.04641490027130728
        """,
        "W_O": """
            0.03296202751662248 -0.014736204530397132 -0.025854997150841278 -0.049443041274933715
            0.022104306795595698 0.03878249572626192 0.0 0.0 0.0 -0.04911768722523536 -0.06671119256905578
            -0.2025326829005317
        """,
        "a": "0.029179388797845703 -0.061530083599928495 0.0 -0.026550191636040076",
    },
    "logistic": {
        "loss": "0.7166960039126972",
        "W_Q": """
            0.05251209785759555 -0.0006079081614493196 -0.018783996722101088 0.02140807270791017 0.0
            0.07937931365473132 0.2314512040542117 0.06728720861477024 0.11437425999461115 0.0
        """,
        "W_K": """
            0.027286965459332777 -0.016994417072715207 -0.02542367754824023 0.004733772504810203
            0.04473326607527548 -7.988057659384389e-05 -0.034811394598972686 0.19158785507265252
            0.024436457604928265 -0.05761443253974662
        """,
        "W_V": """
            0.10106478179691746 -0.024796368945947694 0.08066173089310116 0.08000020393252513
            0.1625689967778123 -0.07555190708175102 0.16873321808503508 0.022939289817946174
            -0.10850803503181387 -0.16847908190652294 0.003247836366423817 -0.06280979484172212
            -0.03177533691421408 0.022679397467399155 0.02460864834481327
        """,
        "W_O": """
            0.019611811369071634 -0.005247388601566073 -0.005812669057119439 -0.029417717053607448
            0.00787108290234911 0.008719003585679157 0.0 0.0 0.0 -0.02388067830010986 -0.032434518373247095
            -0.09846998339776945
        """,
        "a": "0.022778956719282997 -0.0289360615357006 0.0 -0.012908518724814662",
    },
    "squared": {
        "loss": "0.5500564176244143",
        "W_Q": """
            0.1026574637389001 -0.0036503516750922248 -0.03773513200935565 0.04098236094833808 0.0
            0.14473865670374675 0.48778713743398844 0.14976929540090816 0.23175843656059752 0.0
        """,
        "W_K": """
            0.05338141534694711 -0.033515688283190376 -0.048255430176999944 0.009449723393948662
            0.08706708540486731 0.008080324955193625 -0.07897356837489404 0.3986748635693122
            0.053261341808440034 -0.10867689923247317
        """,
        "W_V": """
            0.2164196039991101 -0.0487959603270602 0.1751132539268847 0.1699167683598305 0.34677940604748264
            -0.16684362462408325 0.3284904417954217 0.026201655637163087 -0.2253124719950987
            -0.35826373549748525 0.009042893909431962 -0.12213391307509686 -0.05923957576179303
            0.046042179383326255 0.052029736847574455
        """,
        "W_O": """
            0.045503536860313214 -0.0062431009653867685 0.002640079506858633 -0.06825530529046982
            0.009364651448080153 -0.00396011926028795 0.0 0.0 0.0 -0.046404336166951395 -0.0630259440326867
            -0.19134440632380176
        """,
        "a": "0.061981031188228876 -0.05420816843167871 0.0 -0.025083510392622754",
    },
}


def recipe(loss):
    """Mean loss and gradients of the small problem by literal sums of 50 digits."""
    params, prompts = small_problem()
    with mpmath.workdps(DIGITS):
        value, *grads = naive.batch(params, prompts.tokens, prompts.labels, loss, kind=lambda x: mpmath.mpf(float(x)))
    return {"loss": [value]} | {
        name: [x for row in grad for x in (row if isinstance(row, list) else [row])]
        for name, grad in zip(Params._fields, grads, strict=True)
    }


@pytest.mark.parametrize("loss", MODEL)
def test_model(loss):
    params, prompts = small_problem()
    exact, golden = recipe(loss), {name: list(map(float, text.split())) for name, text in MODEL[loss].items()}
    value, grads = nlicl.loss_and_grad(params, prompts, loss)
    results = {"loss": np.array([value])} | {name: grad.ravel() for name, grad in grads._asdict().items()}
    assert list(golden) == list(exact) == list(results)
    for name in exact:
        np.testing.assert_array_equal(golden[name], [float(x) for x in exact[name]], f"{name}: recipe and stored")
        # Numbers below 1, some dozen roundings each; and the same once more through float32.
        np.testing.assert_allclose(results[name], golden[name], rtol=0, atol=2e-15, err_msg=name)
    single = Params(*(w.astype(np.float32) for w in params)), Prompts(prompts.tokens.astype(np.float32), [1, -1])
    value, grads = nlicl.loss_and_grad(*single, loss)
    for name, result in [("loss", value), *grads._asdict().items()]:
        np.testing.assert_allclose(np.ravel(result), golden[name], rtol=0, atol=1e-6, err_msg=name)


def test_small_problem_has_nothing_trivial():
    params, prompts = small_problem()
    out = nlicl.forward(params, prompts)
    assert (out.preactivation > 0).sum(1).tolist() == [3, 2]
    assert np.abs(out.preactivation).min() > 1e-2
    assert (prompts.labels * out.score < 0.99).all()
    assert out.attention.max() < 0.95
