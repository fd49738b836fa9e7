"""The image that the chart runs, and the chart as a dependency of an umbrella chart."""

import re
import shutil

import pytest
import yaml

from exporter import __version__
from tests.support.chart import (
    CHART,
    HELMS,
    MINIMAL,
    NAME,
    ROOT,
    VERSION,
    Loader,
    helm,
    one,
    pod_spec,
    rendered,
    values,
)


def image(*arguments, **more):
    documents = rendered(*arguments, **more)
    found = {pod_spec(documents)["containers"][0]["image"], one(documents, "Pod")["spec"]["containers"][0]["image"]}
    assert len(found) == 1, "the exporter and the test run the same"
    return found.pop()


# Its image.


def chart_of(folder, *, released):
    """The chart as it is where this version was the last one to be released."""
    copy = folder / NAME
    shutil.copytree(CHART, copy)
    chart = yaml.safe_load((copy / "Chart.yaml").read_text())
    chart["annotations"]["image-patch.mojaloop.io/released"] = released
    (copy / "Chart.yaml").write_text(yaml.safe_dump(chart))
    return copy


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("chosen", [{}, {"image.registry": "mirror.example"}, {"image.digest": f"sha256:{'0a' * 32}"}])
@pytest.mark.parametrize("before", ["", "0.0.9"])
def test_until_its_version_is_released_the_image_has_to_be_named(tmp_path, before, chosen, binary):
    chart = chart_of(tmp_path, released=before)
    done = helm("template", "hub", chart, VERSION, *values(**chosen), binary=binary)
    assert done.returncode != 0
    said = f"image.repository: version {__version__} is not released, so there is no image to pull. Build"
    assert said in done.stderr
    done = helm("lint", "--strict", chart, VERSION, *values(**chosen), binary=binary)
    assert done.returncode == 0, "lint has no values"


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"image.tag": "v0.0.9"}, f"ghcr.io/mojaloop/{NAME}:v0.0.9"),
        ({"image.repository": "hub/own"}, f"ghcr.io/hub/own:v{__version__}"),
        ({"image.registry": "r.example", "image.repository": "own"}, f"r.example/own:v{__version__}"),
        ({"image.repository": "own", "global.imageRegistry": "mirror.example"}, f"mirror.example/own:v{__version__}"),
        ({"image.registry": "", "image.repository": "own", "image.tag": "x"}, "own:x"),
    ],
)
def test_the_image_is_as_the_values_say(chosen, expected, binary):
    nothing = {"image.registry": "ghcr.io", "image.repository": ""}
    assert image(*values(**nothing), *values(**chosen), binary=binary) == expected


@pytest.mark.parametrize("binary", HELMS)
def test_a_released_chart_has_an_image_of_its_own(tmp_path, binary):
    chart = chart_of(tmp_path, released=__version__)
    done = helm("template", "hub", chart, VERSION, binary=binary)
    assert done.returncode == 0, done.stderr
    assert f'image: "ghcr.io/mojaloop/{NAME}:v{__version__}"' in done.stdout


@pytest.mark.parametrize("binary", HELMS)
def test_what_the_readme_installs_is_rendered(binary):
    section = (ROOT / "README.md").read_text().partition("## Install it on a cluster")[2].partition("\n## ")[0]
    command = re.search(r"^helm install image-patch (charts/\S+) ((?:.*\\\n)*.*)", section, re.MULTILINE)
    arguments = command[2].replace("\\\n", " ").split()
    done = helm("template", "image-patch", ROOT / command[1], VERSION, *arguments, binary=binary)
    assert done.returncode == 0, done.stderr
    assert 'image: "registry.example.org/' in done.stdout


# In an umbrella chart.


@pytest.fixture(params=HELMS)
def umbrella(request, tmp_path):
    """Renders an umbrella chart with ours in it, with these values."""
    packaged = helm("package", CHART, "--destination", tmp_path / "hub" / "charts", binary=request.param)
    assert packaged.returncode == 0, packaged.stderr
    dependency = {"name": NAME, "version": __version__, "alias": "patches", "condition": "patches.enabled"}
    chart = {"apiVersion": "v2", "name": "hub", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "hub" / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (tmp_path / "hub" / "values.yaml").touch()
    (tmp_path / "hub" / "templates").mkdir()

    def render(command=("template", "hub"), **chosen):
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(chosen))
        done = helm(*command, tmp_path / "hub", "--namespace", "hub", VERSION, "--values", file, binary=request.param)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return render


def objects(text):
    return [document for document in yaml.load_all(text, Loader) if document]


OURS = yaml.safe_load(MINIMAL.read_text())


def test_an_umbrella_chart_switches_it_off_by_condition(umbrella):
    assert objects(umbrella(patches={"enabled": False})) == []
    documents = objects(umbrella(patches={"enabled": True, **OURS}))
    assert one(documents, "Deployment")["metadata"]["name"] == "hub-patches"


def test_what_an_umbrella_chart_shares_is_used_and_other_charts_keys_are_accepted(umbrella):
    shared = {
        "imageRegistry": "mirror.example",
        "imagePullSecrets": ["mirror-pull", {"name": "hub-pull"}],
        "storageClass": "fast",
    }
    chosen = {"enabled": True, **OURS, "imagePullSecrets": [{"name": "hub-pull"}]}
    documents = objects(umbrella(**{"global": shared}, patches=chosen))
    for spec in (pod_spec(documents), one(documents, "Pod")["spec"]):
        assert spec["containers"][0]["image"].startswith("mirror.example/hub/")
        assert spec["imagePullSecrets"] == [{"name": "hub-pull"}, {"name": "mirror-pull"}]


def test_lint_accepts_the_umbrella_chart(umbrella):
    assert "0 chart(s) failed" in umbrella(command=("lint", "--strict"), patches={"enabled": True, **OURS})
