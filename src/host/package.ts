/** The version and the files of the installed package, whether it runs from source or from dist/. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = ['../../', '../../../'].map((path) => new URL(path, import.meta.url)).find(hasManifest)
if (!root) throw new Error('package.json is missing beside the program; install Facet again.')

/** Absolute path of a file in the package, such as `openapi.yaml`. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(path, root))
}

export const VERSION = (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string })
  .version

function hasManifest(folder: URL): boolean {
  return existsSync(new URL('package.json', folder))
}
