/**
 * A family in memory: its manifest, the layout of its bank, and its base. Bytes in, bytes out; the folder it
 * lies in is `folder.ts`'s.
 */
import { FacetError } from '../errors.js'
import type { Pack } from '../pack/pack.js'
import { type Problems, quote } from '../strict/problems.js'
import { readPack } from '../pack/read.js'
import type { BankLayout } from '../manifest/layout.js'
import type { FamilyManifest, FileEntry } from '../manifest/manifest.js'

export const MANIFEST_FILE = 'family.json'
export const BASE_FILE = 'base.safetensors'
/**
 * One graph for batches of any domains and one for batches of one domain, per type of bank; they share their
 * weights as external data.
 */
export const TRUNK_FILES = {
  any: { f32: 'trunk.onnx', f16: 'trunk.f16.onnx' },
  one: { f32: 'trunk.one.onnx', f16: 'trunk.one.f16.onnx' },
} as const

export interface Family {
  /** Absolute. */
  dir: string
  manifest: FamilyManifest
  layout: BankLayout
  /** The base domain's pack: gives every slot. */
  base: Pack
  /** Absolute paths of the trunk graphs for an f32 and an f16 bank: for batches of any domains, and of one. */
  trunk: { f32: string; f16: string }
  trunkOfOne: { f32: string; f16: string }
}

/** Notes where a file is not the one the manifest means. */
export function checkFile(name: string, found: FileEntry, entry: FileEntry, problems: Problems): void {
  if (found.bytes !== entry.bytes)
    problems.add(`${name} has ${found.bytes} bytes, the manifest says ${entry.bytes}`)
  else if (found.sha256 !== entry.sha256)
    problems.add(`${name} has the SHA-256 ${quote(found.sha256)}, the manifest says ${quote(entry.sha256)}`)
}

/** The base pack; null, and problems, where it is no pack of the family or leaves slots out. */
export function readBase(bytes: Uint8Array, manifest: FamilyManifest, problems: Problems): Pack | null {
  let base: Pack
  try {
    base = readPack(bytes, manifest)
  } catch (error) {
    if (!(error instanceof FacetError)) throw error
    for (const problem of error.problems) problems.add(problem)
    return null
  }
  for (const slot of manifest.slots) {
    if (!base.slots.has(slot.name)) {
      problems.add(`slot ${quote(slot.name)} is missing: the base pack must give every slot`)
    }
  }
  return base
}
