/** The program's version, from package.json; run from source or from dist/. */
import { existsSync, readFileSync } from 'node:fs'

const file = ['../package.json', '../../package.json']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(url))

export const VERSION: string = file
  ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
  : 'unknown'
