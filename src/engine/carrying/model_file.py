"""Atomic models in files, mmCIF or PDB: read, given rigid pieces and bonds, and written with one model a frame.

Files are read and written by gemmi, which is needed for nothing else.  Atoms keep their order and all that is said of
them, but for anisotropic displacements, which would have to turn with the atoms and are left out.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, first_line, named
from ..files.writing import write_atomically
from .atoms import Pairs, Positions

SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")
_BOND_TOLERANCE = 0.4  # Å beyond the sum of the covalent radii; Meng & Lewis, J. Comput. Chem. 12 (1991) 891
_CLOSEST = 0.4  # Å; atoms nearer than this are one atom written twice
_LONGEST = 3.0  # Å
_MOST_IN_REACH = 20.0  # atoms in a cube of that side round an atom, as a mean; a protein with its hydrogens has 4
_PDB_RANGE = (-999.999, 9999.999)  # Å, what a column holds
_OPTIONAL_COLUMNS = {  # of an mmCIF file's atoms, and the one that says the same where it is missing
    "label_alt_id": "",
    "label_asym_id": "auth_asym_id",
    "auth_asym_id": "label_asym_id",
    "label_comp_id": "auth_comp_id",
    "label_atom_id": "auth_atom_id",
    "label_seq_id": "auth_seq_id",
    "auth_seq_id": "label_seq_id",
}
_MOST_NAMED = 20  # chains in a message


@dataclass(frozen=True)
class Model:
    """The first model of a file.

    Attributes:
        structure: gemmi's, with this model alone.
        suffix: .cif or .pdb.
        name: the file's name.
        positions: (n, 3), z, y, x, Å.
        chains: (n,), names as the depositors gave them.
        residues: (n,), their numbers.
        codes: (n,), their insertion codes, "" for most.
        residue_of: (n,), a running number of the residue.
        n_left_out: models after the first.
    """

    structure: Any
    suffix: str
    name: str
    positions: Positions
    chains: NDArray[np.str_]
    residues: NDArray[np.int64]
    codes: NDArray[np.str_]
    residue_of: NDArray[np.int64]
    n_left_out: int


def read_model(path: str | Path) -> Model:
    """Read the first model of a file.

    Raises:
        InputError: its suffix is none of SUFFIXES (or one of them with .gz), gemmi is not installed, or the file is
            missing, broken or without atoms.
    """
    path = Path(path)
    suffix = Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path.name} is no atomic model by its suffix: wanted is {', '.join(SUFFIXES)} or one of these with .gz. "
            f"Rename it or save it in one of these formats."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name and folder.")
    gemmi = _gemmi()
    is_cif = suffix in (".cif", ".mmcif")
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":  # gemmi's own unpacking takes a truncated file for a whole one
            content = gzip.decompress(content)
        # Parts of a chain, such as its waters, stay where the file has them: else atoms would change their order.
        structure = _structure_of_cif(gemmi, content) if is_cif else gemmi.read_pdb_string(_in_ascii(content))
        if not content.isascii():
            _check_names(structure)
    except (RuntimeError, ValueError, IndexError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read ({first_line(error)}). Save it or copy it again.") from error
    n_left_out = max(0, len(structure) - 1)
    while len(structure) > 1:
        del structure[len(structure) - 1]
    rows = (
        [(c.name, r.seqid.num or 0, r.seqid.icode.strip(), k, a) for c, r, k, a in _atoms(structure[0])]
        if len(structure)
        else []
    )
    if not rows:
        raise InputError(f"{path.name} holds no atoms. Give a file of an atomic model.")
    positions = np.array([[a.pos.z, a.pos.y, a.pos.x] for *_, a in rows])
    if not np.isfinite(positions).all():
        raise InputError(f"{path.name} holds positions that are not numbers. Save it again.")
    for *_, atom in rows:
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    chains, residues, codes, residue_of = (np.array(column) for column in list(zip(*rows))[:4])
    suffix = ".cif" if is_cif else ".pdb"
    return Model(structure, suffix, path.name, positions, chains, residues, codes, residue_of, n_left_out)


def _in_ascii(content: bytes) -> bytes:
    """Columns are counted in bytes: what is not ASCII, as in an author's name, becomes a question mark for each."""
    return content if content.isascii() else content.decode("ascii", "replace").replace("\ufffd", "?").encode()


def _check_names(structure: Any) -> None:
    """
    Raises:
        UnicodeDecodeError: a name of an atom, residue or chain is cut within a letter or not UTF-8.
    """
    for model in structure:
        for chain, residue, _, atom in _atoms(model):
            _ = chain.name, residue.name, str(residue.seqid), atom.name, atom.altloc


def _structure_of_cif(gemmi: Any, content: bytes) -> Any:
    """Of the first block that has coordinates; columns that gemmi needs and a program has left out are filled in."""
    document = gemmi.cif.read_string(content)
    block = next((each for each in document if each.find_values("_atom_site.Cartn_x")), document[0])
    column = block.find_loop("_atom_site.Cartn_x")
    if column:
        loop = column.get_loop()
        for missing, instead in _OPTIONAL_COLUMNS.items():
            if f"_atom_site.{missing}" in loop.tags:
                continue
            loop.add_columns([f"_atom_site.{missing}"], ".")
            if f"_atom_site.{instead}" in loop.tags:
                values = list(block.find_loop(f"_atom_site.{instead}"))
                filled = block.find_loop(f"_atom_site.{missing}")
                for i, value in enumerate(values):
                    filled[i] = value
    return gemmi.make_structure_from_block(block)


def check_they_fit(model: Model, frames: NDArray[np.floating[Any]]) -> None:
    """Raises InputError if a position, in Å, is too far out for the columns of a PDB file and the model is one."""
    if model.suffix == ".pdb" and not (frames.min() > _PDB_RANGE[0] and frames.max() < _PDB_RANGE[1]):
        raise InputError(
            f"The atoms of {model.name} come to lie too far out for a PDB file, whose columns hold "
            f"{_PDB_RANGE[0]:g} to {_PDB_RANGE[1]:g} Å. Save the model as .cif first."
        )


def write_models(path: Path, model: Model, frames: NDArray[np.floating[Any]]) -> None:
    """Write one model a frame, numbered from 1, in the format of the file that was read.

    Args:
        path: the file, with the suffix of the model.
        model: what was read.
        frames: (n_frames, n_atoms, 3), z, y, x, Å, see `check_they_fit`.
    Raises:
        OSError: it cannot be written.
    """
    gemmi = _gemmi()
    structure = model.structure.clone()
    del structure[0]
    for i, frame in enumerate(frames):
        copy = model.structure[0].clone()
        copy.num = i + 1
        for (*_, atom), (z, y, x) in zip(_atoms(copy), frame.tolist()):
            atom.pos = gemmi.Position(x, y, z)
        structure.add_model(copy)
    text = structure.make_mmcif_document().as_string() if model.suffix == ".cif" else structure.make_pdb_string()
    write_atomically(path, text.encode())


def atom_names(model: Model) -> list[tuple[str, str, str, str, str]]:
    """Chain, residue number with insertion code, residue name, atom name and altloc of each atom."""
    return [
        (chain.name, str(residue.seqid), residue.name, atom.name, "" if atom.altloc == "\0" else atom.altloc)
        for chain, residue, _, atom in _atoms(model.structure[0])
    ]


def crowding(model: Model) -> float:
    """How many atoms lie about an atom, itself among them, as a mean: in a cube of 3 Å that holds it."""
    cells = np.floor(model.positions / _LONGEST).astype(np.int64)
    _, count = np.unique(cells, axis=0, return_counts=True)
    return float((count.astype(np.float64) ** 2).sum() / len(cells))


def bonds_of(model: Model) -> Pairs:
    """Pairs of atoms as far apart as their covalent radii, (m, 2); metals have none.

    Atoms of different alternate locations are not bonded.

    Raises:
        InputError: atoms lie on each other, so that each would be bonded to very many, and memory would run out.
    """
    if (crowded := crowding(model)) > _MOST_IN_REACH:
        raise InputError(
            f"The atoms of {model.name} lie on each other, {crowded:.0f} in {_LONGEST:g} Å where a molecule has 4: "
            f"copies of it in one place, or another unit of length? Give a model with one of the copies."
        )
    gemmi = _gemmi()
    copy = model.structure[0].clone()
    atoms = [atom for *_, atom in _atoms(copy)]
    for i, atom in enumerate(atoms):
        atom.serial = i
    radii = [0.0 if a.element.is_metal else a.element.covalent_r for a in atoms]
    hydrogens = [a.is_hydrogen() for a in atoms]
    # An empty cell: no copies by crystal symmetry.
    neighbours = gemmi.NeighborSearch(copy, gemmi.UnitCell(), _LONGEST).populate()
    search = gemmi.ContactSearch(_LONGEST)
    search.ignore = gemmi.ContactSearch.Ignore.Nothing
    search.min_occupancy = 0
    bonds = []
    for contact in search.find_contacts(neighbours):
        a, b = contact.partner1.atom.serial, contact.partner2.atom.serial
        longest = radii[a] + radii[b] + _BOND_TOLERANCE
        if radii[a] and radii[b] and _CLOSEST < contact.dist <= longest and not (hydrogens[a] and hydrogens[b]):
            bonds.append((min(a, b), max(a, b)))
    return np.array(sorted(bonds), np.int64).reshape(-1, 2)


def rigid_groups(model: Model, rigid: str) -> NDArray[np.int64]:
    """The rigid bodies that a user asked for.

    Args:
        model: what was read.
        rigid: "residue", "chain", or zones: bodies separated by semicolons, each of one or more parts separated by
            commas, a part being a chain, A, or some of its residues, A:5 or A:1-120.  52 is that residue alone, 52A
            the one inserted after it, and 52-55 all from 52 to 55.
    Returns:
        (n,), the number of the body of each atom; -1 for atoms that no zone holds.
    Raises:
        InputError: the text cannot be read, a chain or residue is not there, or two zones overlap.
    """
    if rigid == "residue":
        return model.residue_of
    if rigid == "chain":
        return np.unique(model.chains, return_inverse=True)[1].ravel().astype(np.int64)
    groups = np.full(len(model.positions), -1, np.int64)
    for number, body in enumerate(rigid.split(";")):
        for part in body.split(","):
            inside = _in_zone(model, part.strip(), rigid)
            taken = inside & (groups >= 0)
            if taken.any():
                i = int(np.argmax(taken))
                raise InputError(
                    f"The zones {rigid!r} ({named('rigid')}) overlap at residue {model.residues[i]} of chain "
                    f"{model.chains[i]}. Name each residue once."
                )
            groups[inside] = number
    return groups


def _in_zone(model: Model, part: str, rigid: str) -> NDArray[np.bool_]:
    match = re.fullmatch(r"([^\s:]+)(?::(-?\d{1,9})([A-Za-z]?)(?:-(-?\d{1,9})([A-Za-z]?))?)?", part)
    if not match:
        raise InputError(
            f"The zones {rigid!r} ({named('rigid')}) cannot be read: wanted is residue, chain, or chains and "
            f"residues such as "
            f"'A:1-120;A:121-214,B:5', with a semicolon between bodies."
        )
    chain, first, first_code, last, last_code = match.groups()
    inside = model.chains == chain
    if first is not None:
        places = _places(model.residues, model.codes)
        from_, to = _places(
            np.array([int(first), int(last or first)]),
            np.array([first_code, last_code if last else first_code]),
        )
        inside = inside & (places >= from_) & (places <= to)
    if not inside.any():
        raise InputError(f"There is no {part} ({named('rigid')}) in {model.name}, which has {_chains_text(model)}.")
    return np.asarray(inside)


def _places(numbers: NDArray[np.int64], codes: NDArray[np.str_]) -> NDArray[np.int64]:
    """Numbers in the order of residues: 52, 52A, 52B, 53."""
    return np.asarray(numbers * 256 + np.array([ord(code) if code else 0 for code in codes.tolist()]), np.int64)


def _chains_text(model: Model) -> str:
    """ "A:1-214, B:3-90": the chains and the first and last residue of each."""
    names = list(dict.fromkeys(model.chains.tolist()))
    texts = []
    for name in names[:_MOST_NAMED]:
        numbers, codes = model.residues[model.chains == name], model.codes[model.chains == name]
        order = np.argsort(_places(numbers, codes), kind="stable")
        first, last = (f"{numbers[i]}{codes[i]}" for i in (order[0], order[-1]))
        texts.append(f"{name}:{first}-{last}")
    return ", ".join(texts) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def _atoms(model: Any) -> Any:
    """Chain, residue, running number of the residue, and atom, in the order of the file."""
    number = -1
    for chain in model:
        for residue in chain:
            number += 1
            for atom in residue:
                yield chain, residue, number, atom


def _gemmi() -> Any:
    try:
        import gemmi
    except ImportError as error:
        raise InputError(
            f"Reading atomic models needs gemmi, which is not installed: pip install gemmi. Or give the positions "
            f"alone as a numpy file ({named('atoms')})."
        ) from error
    return gemmi
