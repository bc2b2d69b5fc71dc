from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mlops_infra.render import parse_documents, to_yaml

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\x85\ufeff\ufffe\uffff"),
        max_size=12,
    )
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ./-09", min_size=1, max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_what_is_written_reads_back_as_it_was(value: object) -> None:
    assert YAML(typ="safe", pure=True).load(to_yaml(value)) == value


def test_words_that_yaml_1_1_takes_for_booleans_or_numbers_are_quoted() -> None:
    assert to_yaml({"a": "yes", "b": "0%", "c": "1e3", "d": "off", "e": "", "no": "plain"}) == (
        'a: "yes"\nb: "0%"\nc: "1e3"\nd: "off"\ne: ""\n"no": plain\n'
    )


def test_lists_of_mappings_are_block_style() -> None:
    assert to_yaml({"args": [{"name": "v", "value": "2"}, []]}) == 'args:\n  - name: v\n    value: "2"\n  - []\n'


def test_empty_documents_of_a_stream_are_left_out() -> None:
    assert parse_documents("---\na: 1\n---\n---\nb: [2]\n") == [{"a": 1}, {"b": [2]}]
