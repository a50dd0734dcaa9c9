"""SMILES to graphs of atoms, and the scaffolds that molecules are split by; the one place that knows of RDKit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels.datasets import atoms
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs
from neural_kernels.progress import progress

CHIRALITIES = ("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW", "CHI_OTHER")
HYBRIDISATIONS = ("SP", "SP2", "SP3", "SP3D", "SP3D2")
# RDKit takes minutes for rings and scaffolds of molecules without end, and a kernel of them has all pairs of atoms.
LONGEST_SMILES = 10_000
LOWEST_CHARGE, HIGHEST_CHARGE = -5, 5


@dataclass(frozen=True)
class Molecules:
    """What became of some SMILES.

    Attributes:
        graphs: of those that are molecules, in their order, with ``atoms.encode``'s channels as nodes.
        rows: (molecules,) int64, their places among the SMILES.
        scaffolds: SMILES of the Murcko scaffold of each, with its chirality, and empty where there is no ring; None
            where they were not asked for.
    """

    graphs: Graphs
    rows: np.ndarray
    scaffolds: tuple[str, ...] | None


def parse(smiles: Sequence[str], scaffolds: bool = False) -> Molecules:
    """The molecules among ``smiles``: without those that RDKit refuses, those that have no atoms, and those of more
    than ``LONGEST_SMILES`` characters.

    Features are those of OGB (Hu et al. 2020, their ``smiles2graph``): hydrogens are counted at their atom and are
    no nodes, and a bond is two edges.

    Raises:
        UserError: RDKit is not installed.
    """
    Chem, murcko, rdBase = _rdkit()
    features_of = _features_of(Chem)
    features, edges = bytearray(), []
    node_counts, edge_counts, rows, found = [0], [0], [], []
    # RDKit would print what it thinks of every molecule.
    with rdBase.BlockLogs(), progress(total=len(smiles), description="reading molecules") as bar:
        for row, text in enumerate(smiles):
            bar.update(1)
            molecule = Chem.MolFromSmiles(text) if len(text) <= LONGEST_SMILES else None
            if molecule is None or molecule.GetNumAtoms() == 0:
                continue
            rows.append(row)
            for atom in molecule.GetAtoms():
                features += features_of(atom)
            bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
            both = [end for first, second in bonds for end in (first, second, second, first)]
            edges.append(np.array(both, np.int32).reshape(-1, 2))
            node_counts.append(molecule.GetNumAtoms())
            edge_counts.append(2 * len(bonds))
            if scaffolds:
                found.append(murcko(mol=molecule, includeChirality=True))
    table = np.frombuffer(bytes(features), np.uint8).reshape(-1, len(atoms.SIZES))
    pairs = np.concatenate([np.empty((0, 2), np.int32), *edges])
    graphs = Graphs(atoms.encode(table), np.cumsum(node_counts), pairs, np.cumsum(edge_counts))
    return Molecules(graphs, np.array(rows, np.int64), tuple(found) if scaffolds else None)


def smiles_of(molecule: Any) -> str:
    """The SMILES of a molecule as RDKit has it.

    Raises:
        UserError: RDKit is not installed.
    """
    return str(_rdkit()[0].MolToSmiles(molecule))


FINGERPRINT_BITS, FINGERPRINT_RADIUS = 2048, 2


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Morgan fingerprints, (n, 2048) float64: how often each neighbourhood of two bonds is there, as log(1 + count),
    each row scaled to mean square one.

    Raises:
        UserError: RDKit is not installed, or one of ``smiles`` is no molecule to it.
    """
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    counts = np.array([generator.GetCountFingerprintAsNumPy(molecule) for molecule in _read(smiles)])
    rows = np.log1p(counts.astype(np.float64))
    return rows / np.sqrt(np.square(rows).mean(axis=1, keepdims=True))


def descriptors(smiles: Sequence[str]) -> np.ndarray:
    """RDKit's descriptors of whole molecules, (n, descriptors) float64, each as arsinh of its value, since some span
    many magnitudes; zero where RDKit finds none. Which there are is for the installed RDKit to say.

    Raises:
        UserError: RDKit is not installed, or one of ``smiles`` is no molecule to it.
    """
    found = _read(smiles)
    from rdkit.Chem import Descriptors
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        values = [[_number(function, molecule) for _, function in Descriptors.descList] for molecule in found]
    return np.arcsinh(np.nan_to_num(np.array(values), nan=0.0, posinf=0.0, neginf=0.0))


def _number(descriptor: Any, molecule: Any) -> float:
    try:
        return float(descriptor(molecule))
    except (ArithmeticError, ValueError, RuntimeError):
        return 0.0  # without heavy atoms some have no meaning


def _read(smiles: Sequence[str]) -> list[Any]:
    Chem, _, rdBase = _rdkit()
    with rdBase.BlockLogs():
        found = [Chem.MolFromSmiles(text) for text in smiles]
    for text, molecule in zip(smiles, found, strict=True):
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise UserError(f"{text[:200]!r} is no molecule to RDKit")
    return found


def _features_of(Chem: Any) -> Callable[[Any], bytes]:
    """A function from an atom of RDKit to its indices in ``atoms.SIZES``, a byte each."""
    chirality = {getattr(Chem.ChiralType, name): index for index, name in enumerate(CHIRALITIES)}
    hybridisation = {
        getattr(Chem.HybridizationType, name): index for index, name in enumerate(HYBRIDISATIONS)
    }
    others = {name: size - 1 for name, size in atoms.SIZES.items()}
    elements, degrees, hydrogens = others["atomic number"], others["degree"], others["hydrogens"]

    def features_of(atom: Any) -> bytes:
        number, charge = atom.GetAtomicNum(), atom.GetFormalCharge()
        return bytes(
            (
                number - 1 if 1 <= number <= elements else elements,
                chirality.get(atom.GetChiralTag(), others["chirality"]),
                min(atom.GetTotalDegree(), degrees),
                charge - LOWEST_CHARGE if LOWEST_CHARGE <= charge <= HIGHEST_CHARGE else others["charge"],
                min(atom.GetTotalNumHs(), hydrogens),
                min(atom.GetNumRadicalElectrons(), others["radical electrons"]),
                hybridisation.get(atom.GetHybridization(), others["hybridisation"]),
                atom.GetIsAromatic(),
                atom.IsInRing(),
            )
        )

    return features_of


def _rdkit() -> tuple[Any, Any, Any]:
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
    except ImportError:
        raise UserError(
            "reading SMILES needs the package rdkit: pip install neural-kernels[molecules]"
        ) from None
    return Chem, MurckoScaffoldSmiles, rdBase
