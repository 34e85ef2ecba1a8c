/** The images that a command was given: files as they are, and of folders what looks like an image, sorted by name. */
import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { naming } from '../../host/file-problem.js'
import { imageExtensions } from '../domain-images.js'
import { RemoteError } from './remote-error.js'

const WHAT = 'The image or folder'
const REMEDY = 'Name files or folders of images.'

/** @throws FileProblem where there is no such file, RemoteError where a folder has no image */
export async function imageFiles(paths: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(paths.map((path) => naming(WHAT, path, REMEDY, () => filesAt(path))))
  return lists.flat()
}

async function filesAt(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const images = entries.filter(
    (entry) => !entry.isDirectory() && imageExtensions.has(extname(entry.name).toLowerCase()),
  )
  if (images.length === 0)
    throw new RemoteError(`The folder ${path} has no image (${[...imageExtensions].join(', ')}).`)
  return images.map(({ parentPath, name }) => join(parentPath, name)).sort()
}
