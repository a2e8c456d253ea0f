"""The Merkle tree against the RFC's own definition, published roots, and three foreign implementations."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    InvalidConsistencyProofError,
    InvalidInclusionProofError,
    MalformedFrontierError,
    NodeReader,
    UnknownLeafError,
    consistency_nodes,
    consistency_path,
    inclusion_nodes,
    inclusion_path,
    leaf_hash,
    node_hash,
    perfect_root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.go_sumdb import Ask

# The eight leaves of Certificate Transparency's tests since RFC 6962, and the roots after each.
CLASSIC_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CLASSIC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

sizes = st.integers(1, 300)
LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(300)]


def split(count: int) -> int:
    """RFC 9162 section 2.1.1: 'Let k be the largest power of two smaller than n (i.e., k < n <= 2k).'"""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 section 2.1.1: 'MTH(D_n) = HASH(0x01 || MTH(D[0:k]) || MTH(D[k:n]))'."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1: 'PATH(m, D_n)'."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    """RFC 9162 section 2.1.4.1: 'SUBPROOF(m, D_n, b)'."""
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def node_of(leaves: Sequence[bytes]) -> NodeReader:
    """Perfect subtrees straight from the leaves."""

    def node(level: int, place: int) -> bytes:
        below = leaves[place << level : (place + 1) << level]
        assert len(below) == 1 << level, "asked for a subtree that is not perfect"
        return perfect_root(below)

    return node


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 9162 section 2.1.1: 'The hash of an empty list is the hash of an empty string'."""
    assert EMPTY_ROOT == hashlib.sha256(b"").digest() == root_of([]) == Frontier().root()


def test_leaves_and_nodes_can_never_be_taken_for_each_other() -> None:
    """RFC 9162 section 2.1.1: 'domain separation is required to give second preimage resistance'."""
    assert leaf_hash(b"ab") == hashlib.sha256(b"\x00ab").digest()
    assert node_hash(b"a" * 32, b"b" * 32) == hashlib.sha256(b"\x01" + b"a" * 32 + b"b" * 32).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_the_classic_leaves_have_their_published_roots(size: int) -> None:
    assert root_of(map(leaf_hash, CLASSIC_LEAVES[:size])).hex() == CLASSIC_ROOTS[size - 1]


def test_the_classic_tree_has_its_published_inclusion_path() -> None:
    leaves = [leaf_hash(leaf) for leaf in CLASSIC_LEAVES]
    assert [sibling.hex() for sibling in inclusion_path(0, 8, node_of(leaves))] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@given(st.lists(st.lists(st.binary(max_size=3), max_size=40), max_size=6))
def test_however_leaves_arrive_the_root_is_that_of_the_whole_list(parts: list[list[bytes]]) -> None:
    appended, extended = Frontier(), Frontier()
    leaves: list[bytes] = []
    for part in parts:
        hashes = [leaf_hash(leaf) for leaf in part]
        leaves += hashes
        extended.extend(iter(hashes))
        for leaf in hashes:
            appended.append(leaf)
        assert appended.root() == extended.root() == root_of(leaves) == mth(leaves)
        assert appended.size == extended.size == len(leaves)
        assert appended.to_bytes() == extended.to_bytes()
        assert len(extended.peaks) == len(leaves).bit_count()


@given(sizes, sizes)
def test_a_copied_frontier_grows_on_its_own(size: int, more: int) -> None:
    frontier = Frontier()
    frontier.extend(LEAVES[:size])
    copy = frontier.copy()
    copy.extend(LEAVES[:more])
    assert (frontier.size, frontier.root()) == (size, mth(LEAVES[:size]))
    assert (copy.size, copy.root()) == (size + more, mth(LEAVES[:size] + LEAVES[:more]))


@given(st.integers(0, 300))
def test_a_frontier_survives_being_stored(size: int) -> None:
    frontier = Frontier()
    frontier.extend(LEAVES[:size])
    data = frontier.to_bytes()
    restored = Frontier.from_bytes(data)
    assert restored.to_bytes() == data
    restored.append(LEAVES[0])
    assert restored.root() == mth([*LEAVES[:size], LEAVES[0]])


@pytest.mark.parametrize(
    ("data", "evil"),
    [
        (b"", "nothing at all"),
        (bytes(7), "half a size"),
        ((1).to_bytes(8, "big"), "a size without its peak"),
        ((1).to_bytes(8, "big") + bytes(31), "a peak that is too short"),
        ((1).to_bytes(8, "big") + bytes(64), "a peak too many"),
        (bytes(8) + b"\n", "trailing garbage"),
        ((1 << 63).to_bytes(8, "big") + bytes(32), "more leaves than a log can have"),
    ],
)
def test_what_is_no_frontier_is_refused(data: bytes, evil: str) -> None:
    with pytest.raises(MalformedFrontierError):
        Frontier.from_bytes(data)


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300])
def test_every_inclusion_path_is_the_one_of_the_rfc_and_verifies(size: int) -> None:
    root = mth(LEAVES[:size])
    for index in range(0, size, max(1, size // 32)):
        proof = inclusion_path(index, size, node_of(LEAVES[:size]))
        assert proof == path(index, LEAVES[:size])
        verify_inclusion(index, size, LEAVES[index], proof, root)


@pytest.mark.parametrize("size_new", [*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300])
def test_every_consistency_path_is_the_one_of_the_rfc_and_verifies(size_new: int) -> None:
    root_new = mth(LEAVES[:size_new])
    for size_old in {1, size_new, *range(1, size_new, max(1, size_new // 32))}:
        proof = consistency_path(size_old, size_new, node_of(LEAVES[:size_new]))
        assert proof == subproof(size_old, LEAVES[:size_new], True)
        verify_consistency(size_old, size_new, mth(LEAVES[:size_old]), root_new, proof)


@given(st.data())
def test_a_changed_inclusion_proof_never_verifies(data: st.DataObject) -> None:
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    root = mth(LEAVES[:size])
    proof = path(index, LEAVES[:size])
    index_wrong, size_wrong, leaf_wrong, proof_wrong, root_wrong = (
        index,
        size,
        LEAVES[index],
        list(proof),
        root,
    )
    match data.draw(
        st.sampled_from(["index", "leaf", "root", "cut", "add", "flip", "swap", "length", "leaf length"])
    ):
        case "index":
            # Another index can have the same path only with the same leaf under it.
            index_wrong = data.draw(st.integers(-1, size).filter(lambda other: other != index))
        case "leaf":
            leaf_wrong = leaf_hash(b"another")
        case "root":
            root_wrong = leaf_hash(b"another")
        case "cut":
            proof_wrong = proof[:-1] if proof else [root]
        case "add":
            proof_wrong.insert(
                data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from([root, *LEAVES[:3]]))
            )
        case "flip":
            proof_wrong = [*proof[:-1], bytes([proof[-1][0] ^ 1]) + proof[-1][1:]] if proof else [root]
        case "swap":
            proof_wrong = proof[1:] + proof[:1] if len(set(proof)) > 1 else [*proof, root]
        case "length":
            proof_wrong = [*proof[:-1], proof[-1] + b"\0"] if proof else [b""]
        case "leaf length":
            leaf_wrong = leaf_wrong[:31]
    with pytest.raises(InvalidInclusionProofError) as caught:
        verify_inclusion(index_wrong, size_wrong, leaf_wrong, proof_wrong, root_wrong)
    assert caught.value.field in {"step 1", "step 2", "step 3", "step 4"}


@given(st.data())
def test_a_changed_consistency_proof_never_verifies(data: st.DataObject) -> None:
    size_new = data.draw(st.integers(2, 300))
    size_old = data.draw(st.integers(1, size_new - 1))
    old, new = mth(LEAVES[:size_old]), mth(LEAVES[:size_new])
    proof = subproof(size_old, LEAVES[:size_new], True)
    sizes_wrong, old_wrong, new_wrong, proof_wrong = (size_old, size_new), old, new, list(proof)
    match data.draw(
        st.sampled_from(["old root", "new root", "roots", "cut", "add", "flip", "empty", "same", "back"])
    ):
        case "old root":
            old_wrong = leaf_hash(b"another")
        case "new root":
            new_wrong = leaf_hash(b"another")
        case "roots":
            old_wrong, new_wrong = new, old
        case "cut":
            proof_wrong = proof[:-1]
        case "add":
            proof_wrong.append(data.draw(st.sampled_from([old, new, LEAVES[0]])))
        case "flip":
            at = data.draw(st.integers(0, len(proof) - 1))
            proof_wrong[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        case "empty":
            proof_wrong = []
        case "same":
            sizes_wrong = (size_new, size_new)
        case "back":
            sizes_wrong = (size_new, size_old)
    with pytest.raises(InvalidConsistencyProofError) as caught:
        verify_consistency(*sizes_wrong, old_wrong, new_wrong, proof_wrong)
    assert caught.value.field in {"step 1", "step 2", "step 3", "step 4", "step 5"}


def test_inclusion_step_1_the_index_lies_in_the_tree() -> None:
    for index, size in [(0, 0), (1, 1), (-1, 1), (0, 1 << 63)]:
        with pytest.raises(InvalidInclusionProofError) as caught:
            verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])
        assert caught.value.field == "step 1"


def test_inclusion_step_2_hashes_have_32_bytes() -> None:
    with pytest.raises(InvalidInclusionProofError) as caught:
        verify_inclusion(0, 1, b"short", [], b"short")
    assert caught.value.field == "step 2"


def test_inclusion_step_3_the_path_ends_at_the_root() -> None:
    for size, proof in [(1, [LEAVES[0]]), (2, []), (2, [LEAVES[1], LEAVES[1]])]:
        with pytest.raises(InvalidInclusionProofError) as caught:
            verify_inclusion(0, size, LEAVES[0], proof, mth(LEAVES[:size]))
        assert caught.value.field == "step 3"


def test_inclusion_step_4_the_path_leads_to_the_root() -> None:
    with pytest.raises(InvalidInclusionProofError) as caught:
        verify_inclusion(1, 2, LEAVES[0], [LEAVES[1]], mth(LEAVES[:2]))
    assert caught.value.field == "step 4"


def test_consistency_step_1_the_empty_tree_needs_no_proof_and_gets_none() -> None:
    for size_old, size_new in [(0, 0), (0, 1), (2, 1), (1, 1 << 63)]:
        with pytest.raises(InvalidConsistencyProofError) as caught:
            verify_consistency(size_old, size_new, EMPTY_ROOT, LEAVES[0], [])
        assert caught.value.field == "step 1"


def test_consistency_step_3_a_tree_needs_no_path_to_itself() -> None:
    verify_consistency(1, 1, LEAVES[0], LEAVES[0], [])
    with pytest.raises(InvalidConsistencyProofError) as caught:
        verify_consistency(1, 1, LEAVES[0], LEAVES[0], [LEAVES[0]])
    assert caught.value.field == "step 3"


def test_consistency_steps_4_and_5_tell_which_root_is_wrong() -> None:
    proof = subproof(3, LEAVES[:5], True)
    for old, new, step in [(LEAVES[9], mth(LEAVES[:5]), "step 4"), (mth(LEAVES[:3]), LEAVES[9], "step 5")]:
        with pytest.raises(InvalidConsistencyProofError) as caught:
            verify_consistency(3, 5, old, new, proof)
        assert caught.value.field == step
    with pytest.raises(InvalidConsistencyProofError) as caught:
        verify_consistency(1, 1, LEAVES[0], LEAVES[1], [])
    assert caught.value.field == "step 5"


@given(st.integers(1, 2**63 - 1), st.data())
def test_paths_of_the_largest_trees_stay_within_the_limit(size: int, data: st.DataObject) -> None:
    """RFC 9162 section 2.1.3: 'The audit path is of length at most ceil(log2(n))'."""
    index = data.draw(st.integers(0, size - 1))
    assert len(inclusion_nodes(index, size)) <= (size - 1).bit_length() <= 63
    # Section 2.1.4.1: 'The length of a consistency proof is bounded above by ceil(log2(n)) + 1.'
    assert len(consistency_nodes(data.draw(st.integers(1, size)), size)) <= (size - 1).bit_length() + 1


def test_proofs_of_leaves_that_are_not_there_are_not_made() -> None:
    for index, size in [(0, 0), (3, 3), (-1, 3)]:
        with pytest.raises(UnknownLeafError):
            inclusion_nodes(index, size)
    for size_old, size_new in [(0, 3), (4, 3)]:
        with pytest.raises(UnknownLeafError):
            consistency_nodes(size_old, size_new)


def test_pymerkle_finds_the_same_roots() -> None:
    pymerkle = pytest.importorskip("pymerkle")
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    frontier = Frontier()
    for number in range(130):
        data = b"entry %d" % number
        tree.append_entry(data)
        frontier.append(leaf_hash(data))
        assert tree.get_root() == frontier.root()


def test_go_sumdb_makes_the_same_roots_and_proofs_and_accepts_ours(go_sumdb: Ask) -> None:
    data = [b"record %d" % number for number in range(70)]
    leaves = [leaf_hash(record) for record in data]
    records = [(index, size) for size in range(1, 71, 3) for index in range(0, size, 5)]
    trees = [(old, new) for new in range(1, 71, 3) for old in range(1, new + 1, 5)]

    def node(level: int, place: int) -> bytes:
        return node_of(leaves)(level, place)

    answer = go_sumdb(
        Leaves=[record.hex() for record in data],
        ProveRecord=records,
        ProveTree=trees,
        Records=[
            {
                "Size": size,
                "Index": index,
                "Leaf": leaves[index].hex(),
                "Root": root_of(leaves[:size]).hex(),
                "Path": [sibling.hex() for sibling in inclusion_path(index, size, node)],
            }
            for index, size in records
        ],
        Trees=[
            {
                "SizeOld": old,
                "SizeNew": new,
                "RootOld": root_of(leaves[:old]).hex(),
                "RootNew": root_of(leaves[:new]).hex(),
                "Path": [sibling.hex() for sibling in consistency_path(old, new, node)],
            }
            for old, new in trees
        ],
    )
    assert answer["Roots"] == [root_of(leaves[:size]).hex() for size in range(1, 71)]
    assert set(answer["Records"]) == set(answer["Trees"]) == {""}
    for (index, size), theirs in zip(records, answer["RecordProofs"], strict=True):
        assert theirs == [sibling.hex() for sibling in inclusion_path(index, size, node)]
    for (old, new), theirs in zip(trees, answer["TreeProofs"], strict=True):
        assert theirs == [sibling.hex() for sibling in consistency_path(old, new, node)]
