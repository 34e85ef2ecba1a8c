/** The bases of a compressed family, as they lie beside its manifest: one safetensors file, bytes in, bytes out. */
import { weightsDigest } from '../manifest/fingerprint.js'
import type { FamilyManifest, Slot } from '../manifest/manifest.js'
import { type Bases, type Basis, basisTensors } from '../pack/projection.js'
import {
  readSafetensors,
  SafetensorsError,
  type Tensor,
  writeSafetensors,
} from '../safetensors/safetensors.js'
import { type Problems, quote } from '../strict/problems.js'

/** SHA-256 (hex) of the bases in slot order: what the fingerprint of a compressed family covers. */
export function basesDigest(slots: readonly Pick<Slot, 'name'>[], bases: Bases): string {
  const arrays = slots.flatMap(({ name }) => bases.get(name)?.basis ?? [])
  return weightsDigest(
    arrays.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength)),
  )
}

export function writeBases(slots: readonly Slot[], bases: Bases): Uint8Array {
  const tensors = new Map<string, Tensor>()
  for (const slot of slots) {
    const basis = bases.get(slot.name)
    if (!basis) continue
    for (const { key, name, rows } of tensorsOf(slot)) {
      const values = basis[key]
      if (!values) continue
      const { buffer, byteOffset, byteLength } = values
      const bytes = new Uint8Array(buffer, byteOffset, byteLength)
      tensors.set(name, { dtype: 'F32', shape: [rows, values.length / rows], bytes })
    }
  }
  return writeSafetensors(tensors)
}

/** The bases of a family; null, and problems are noted, where the file is not what the manifest says. */
export function readBases(bytes: Uint8Array, manifest: FamilyManifest, problems: Problems): Bases | null {
  let tensors: ReadonlyMap<string, Tensor>
  try {
    ;({ tensors } = readSafetensors(bytes))
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error
    for (const problem of error.problems) problems.add(problem)
    return null
  }
  const before = problems.count
  const bases = new Map<string, Basis>()
  for (const slot of manifest.slots) {
    if (slot.basis === undefined) continue
    const found: Partial<Record<keyof Basis, Float32Array>> = {}
    for (const { key, name, rows, length, optional } of tensorsOf(slot)) {
      const tensor = tensors.get(name)
      const fits = tensor?.dtype === 'F32' && tensor.shape.length === 2 && tensor.shape[0] === rows
      if (tensor && (!fits || (length !== undefined && tensor.shape[1] !== length)))
        problems.add(
          `tensor ${quote(name)} is ${tensor.dtype} ${quote(tensor.shape)}, expected F32 [${rows}, ${length ?? 'K'}]`,
        )
      else if (tensor) {
        const values = new Float32Array(new Uint8Array(tensor.bytes).buffer)
        if (values.length === 0 || !values.every(Number.isFinite))
          problems.add(`tensor ${quote(name)} has no numbers, or some that are not finite`)
        found[key] = values
      } else if (!optional) problems.add(`tensor ${quote(name)} is missing: the slot has a basis`)
    }
    bases.set(slot.name, found as Basis)
  }
  if (problems.count === before && basesDigest(manifest.slots, bases) !== manifest.compressed?.bases)
    problems.add('the bases are not those that the manifest names in compressed.bases')
  return problems.count === before ? bases : null
}

/** The tensors of a slot's basis: rows, and columns where they are given by the slot. */
function tensorsOf({ name, columns, basis }: Slot) {
  const names = basisTensors(name)
  return [
    { key: 'basis', name: names.basis, rows: basis!, length: columns, optional: false },
    { key: 'projector', name: names.projector, rows: columns, length: basis!, optional: false },
    { key: 'mean', name: names.mean, rows: columns, length: 1, optional: true },
    { key: 'sketch', name: names.sketch, rows: columns, length: undefined, optional: true },
  ] as const
}
