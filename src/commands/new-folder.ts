/** A folder that a command makes: written beside its place first, and there whole or not at all. */
import { mkdir, mkdtemp, readdir, realpath, rm } from 'node:fs/promises'
import { basename, dirname, join, relative, sep } from 'node:path'
import { isFileError, naming } from '../host/file-problem.js'
import { BackboneError } from '../onnx/onnx.js'

/** What is said of a folder that cannot be made. */
export const NEW_FOLDER_REMEDY = 'Name a folder that is not there yet.'

/** @param option the option that names the folder @throws BackboneError for a folder that holds files */
export async function checkNew(folder: string, option = '--out'): Promise<void> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  if (entries.length > 0)
    throw new BackboneError(`${folder} holds files already. Choose another folder with ${option}.`)
}

/**
 * Refuses places of which one lies in another: each is written beside itself and put there as a whole, so one would be in
 * the other's way when all the work is done.
 *
 * @param places absolute paths by the options that name them
 * @throws BackboneError that names both
 */
export async function checkApart(places: Readonly<Record<string, string>>): Promise<void> {
  const named = await Promise.all(
    Object.entries(places).map(async ([option, path]) => ({ option, path, real: await realPlace(path) })),
  )
  for (const inner of named)
    for (const outer of named) {
      if (inner === outer || !isWithin(inner.real, outer.real)) continue
      const place =
        inner.real === outer.real
          ? `named with ${outer.option} too`
          : `in ${outer.path} (${outer.option}), which is written as a whole`
      throw new BackboneError(
        `${inner.path} (${inner.option}) is ${place}. Choose another place for one of them.`,
      )
    }
}

/** A path without symbolic links, also of what is not there yet. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    // ENOTDIR: what makes the file or folder says it.
    if (!isFileError(error) || !['ENOENT', 'ENOTDIR'].includes(error.code ?? '')) throw error
    return join(await realPlace(dirname(path)), basename(path))
  }
}

/** Also of a path and itself. */
function isWithin(inner: string, outer: string): boolean {
  const [first] = relative(outer, inner).split(sep)
  return first !== '..'
}

/** Runs `work` with a new folder beside `folder`, which is removed afterwards if it is still there. */
export async function inStaging<T>(folder: string, work: (staging: string) => Promise<T>): Promise<T> {
  const staging = await naming('The folder', folder, NEW_FOLDER_REMEDY, async () => {
    await mkdir(dirname(folder), { recursive: true })
    return mkdtemp(join(dirname(folder), `.${basename(folder)}-`))
  })
  try {
    return await work(staging)
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}
