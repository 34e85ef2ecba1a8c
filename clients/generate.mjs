/**
 * Writes what is generated of openapi.yaml, the one source of the API's description: `npm run openapi`.
 * test/openapi.test.ts fails where something else is there.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parse } from 'yaml'

/** @param {string} name */
const file = (name) => new URL(`../${name}`, import.meta.url)

/** The document as JSON. @param {string} yaml */
export function asJson(yaml) {
  return `${JSON.stringify(parse(yaml), null, 1)}\n`
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const yaml = readFileSync(file('openapi.yaml'), 'utf8')
  writeFileSync(file('openapi.json'), asJson(yaml))
}
