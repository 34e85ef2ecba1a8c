/**
 * A family's folder from disk: manifest, integrity of every file, base pack.
 *
 * Read once at start; a family that is not wholly sound is not served. Knows neither ONNX nor HTTP.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { FacetError } from '../errors.js'
import type { Pack } from '../pack/pack.js'
import { Problems, quote } from '../pack/problems.js'
import { readPack } from '../pack/read.js'
import { type BankLayout, bankLayout } from './layout.js'
import type { FamilyManifest, FileEntry } from './manifest.js'
import { FamilyError, parseManifest } from './schema.js'

export const MANIFEST_FILE = 'family.json'
export const BASE_FILE = 'base.safetensors'
/** One graph per type of bank; they share their weights as external data. */
export const TRUNK_FILES = { f32: 'trunk.onnx', f16: 'trunk.f16.onnx' } as const

export interface Family {
  /** Absolute. */
  dir: string
  manifest: FamilyManifest
  layout: BankLayout
  /** The base domain's pack: gives every slot. */
  base: Pack
  /** Absolute paths of the trunk graphs for an f32 and an f16 bank. */
  trunk: { f32: string; f16: string }
}

/**
 * Reads `<dir>/family.json` and checks everything it says: sizes and SHA-256 of all files, and that
 * `base.safetensors` is a whole pack of the family.
 *
 * @throws FamilyError naming each file and field that is wrong, all at once.
 */
export async function readFamily(dir: string): Promise<Family> {
  const root = path.resolve(dir)
  const file = path.join(root, MANIFEST_FILE)
  const manifest = parseManifest(await readText(file), file)
  const problems = new Problems()
  for (const [name, entry] of Object.entries(manifest.files)) {
    await checkFile(path.join(root, name), name, entry, problems)
  }
  if (!problems.empty) throw new FamilyError(`The family in ${root}`, problems.list())
  const base = readBase(await readFile(path.join(root, BASE_FILE)), manifest, problems)
  if (!problems.empty || !base) throw new FamilyError(path.join(root, BASE_FILE), problems.list())
  return {
    dir: root,
    manifest,
    layout: bankLayout(manifest),
    base,
    trunk: { f32: path.join(root, TRUNK_FILES.f32), f16: path.join(root, TRUNK_FILES.f16) },
  }
}

async function readText(file: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'no such file (is this the folder of a family?)' : message
    throw new FamilyError(file, [`cannot be read: ${reason}`])
  }
}

async function checkFile(file: string, name: string, entry: FileEntry, problems: Problems): Promise<void> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
      hash.update(chunk)
      bytes += chunk.length
    }
  } catch (error) {
    problems.add(`${name} cannot be read: ${(error as Error).message}`)
    return
  }
  const sha256 = hash.digest('hex')
  if (bytes !== entry.bytes) problems.add(`${name} has ${bytes} bytes, the manifest says ${entry.bytes}`)
  else if (sha256 !== entry.sha256) {
    problems.add(`${name} has the SHA-256 ${quote(sha256)}, the manifest says ${quote(entry.sha256)}`)
  }
}

/** The base pack; null, and problems, where it is no pack of the family or leaves slots out. */
function readBase(bytes: Uint8Array, manifest: FamilyManifest, problems: Problems): Pack | null {
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
