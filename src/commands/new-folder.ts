/** A folder that a command makes: written beside its place first, and there whole or not at all. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { naming } from '../host/file-problem.js'
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
