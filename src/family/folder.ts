/**
 * A family's folder from disk: manifest, integrity of every file, base pack.
 *
 * Read once, at start. A family with any problem is not served. Before its graphs are opened again, when lanes start anew,
 * its files are compared with what was read. Knows neither ONNX nor HTTP.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { readBases } from './bases.js'
import { BASE_FILE, checkFile, createFamily, type Family, MANIFEST_FILE, readBase } from './family.js'
import { FamilyError } from '../manifest/family-error.js'
import { BASES_FILE, type FamilyManifest, type FileEntry } from '../manifest/manifest.js'
import { parseManifest } from '../manifest/schema.js'
import { Problems } from '../strict/problems.js'

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
  const problems = await problemsOf(root, manifest)
  if (!problems.empty) throw new FamilyError(`The family in ${root}`, problems.list())
  const base = readBase(await readFile(path.join(root, BASE_FILE)), manifest, problems)
  if (!problems.empty || !base) throw new FamilyError(path.join(root, BASE_FILE), problems.list())
  if (!manifest.compressed) return createFamily(root, manifest, base)
  const bases = readBases(await readFile(path.join(root, BASES_FILE)), manifest, problems)
  if (!bases) throw new FamilyError(path.join(root, BASES_FILE), problems.list())
  return createFamily(root, manifest, base, bases)
}

/**
 * Compares the files of a family that is served with what was read at start.
 * @throws FamilyError that names each file that is not
 */
export async function checkUnchanged({ dir, manifest }: Pick<Family, 'dir' | 'manifest'>): Promise<void> {
  const problems = await problemsOf(dir, manifest)
  if (problems.empty) return
  throw new FamilyError(`The family '${manifest.name}' in ${dir}, which has changed while it is served,`, [
    ...problems.list(),
    'Put its files back, or restart the service to serve what is there now',
  ])
}

/** What is wrong with the files of a family. */
async function problemsOf(dir: string, { files }: FamilyManifest): Promise<Problems> {
  const problems = new Problems()
  for (const [name, entry] of Object.entries(files)) {
    try {
      checkFile(name, await sizeAndHash(path.join(dir, name)), entry, problems)
    } catch (error) {
      problems.add(`${name} cannot be read: ${(error as Error).message}`)
    }
  }
  return problems
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

/** Reads the file as a stream: a trunk's weights may be large. */
async function sizeAndHash(file: string): Promise<FileEntry> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { bytes, sha256: hash.digest('hex') }
}
