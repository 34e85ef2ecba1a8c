/**
 * The files of the pages for browsers. They are read once, at the start: what is served is this list of paths, and no
 * request reaches the disk.
 *
 * Our own files lie in `public/` and are served under the path that they have there. What they use of npm packages is
 * served beside them, under `/vendor/`. Nothing is built.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageFile } from '../../host/package.js'
import type { PageFile, PageFiles } from '../exchange/deps.js'

/** A file of a package, and the path that it is served under. */
interface Vendored {
  path: string
  url: URL
  /** Bare names of packages that it imports, each with the relative path that a browser finds them under. */
  imports?: Readonly<Record<string, string>>
}

/** What is served of `public/`; anything else there is for the type checker. */
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

const inPackage = (name: string, file = '') => new URL(file, import.meta.resolve(name))

const VENDORED: readonly Vendored[] = [
  { path: '/vendor/preact.js', url: inPackage('preact') },
  { path: '/vendor/preact-hooks.js', url: inPackage('preact/hooks'), imports: { preact: './preact.js' } },
  { path: '/vendor/htm.js', url: inPackage('htm') },
  { path: '/vendor/uplot.js', url: inPackage('uplot', 'uPlot.esm.js') },
  { path: '/vendor/swagger-ui.js', url: inPackage('swagger-ui-dist', 'swagger-ui-bundle.js') },
  { path: '/vendor/swagger-ui.css', url: inPackage('swagger-ui-dist', 'swagger-ui.css') },
  { path: '/vendor/uplot.css', url: inPackage('uplot', 'uPlot.min.css') },
]

export async function readPages(): Promise<PageFiles> {
  const folder = packageFile('public/')
  const names = (await readdir(folder, { recursive: true })).map((name) => name.replaceAll('\\', '/'))
  const own = names.filter((name) => extname(name) in TYPES)
  const files = [
    ...own.map(async (name) => entry(`/${name}`, await readFile(`${folder}${name}`))),
    ...VENDORED.map(async ({ path, url, imports = {} }) => {
      const text = await readFile(fileURLToPath(url), 'utf8')
      return entry(path, Buffer.from(forBrowsers(text, imports)))
    }),
  ]
  return new Map(await Promise.all(files))
}

function entry(path: string, body: Buffer): [string, PageFile] {
  const tag = createHash('sha256').update(body).digest('hex')
  return [path, { body, type: TYPES[extname(path)]!, tag }]
}

/**
 * A module with paths instead of bare names: a browser finds those in an import map only, and a page's policy that
 * allows no inline scripts allows no such map. The link to a source map goes too, since none is served.
 */
function forBrowsers(text: string, imports: Readonly<Record<string, string>>): string {
  let module = text.replace(/^\/\/# sourceMappingURL=.*$/m, '')
  for (const [name, path] of Object.entries(imports))
    module = module.replaceAll(new RegExp(`\\bfrom\\s*(["'])${name}\\1`, 'g'), `from"${path}"`)
  return module
}
