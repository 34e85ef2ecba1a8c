/** The version, the files and the families of the installed package, whether it runs from source or from dist/. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = ['../../', '../../../'].map((path) => new URL(path, import.meta.url)).find(hasManifest)
if (!root) throw new Error('package.json is missing beside the program; install Facet again.')

/** Absolute path of a file in the package, such as `openapi.yaml`. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(path, root))
}

/** The families that are served where none is named, the first one first. It is the one for new domains. */
export const SHIPPED_FAMILIES = ['efficientnet-lite0', 'resnet26-half'] as const

export const VERSION = (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string })
  .version

function hasManifest(folder: URL): boolean {
  return existsSync(new URL('package.json', folder))
}
