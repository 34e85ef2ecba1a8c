/**
 * Writes what is generated of openapi.yaml, the one source of the API's description: `npm run openapi`.
 * test/openapi.test.ts fails where something else is there.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import openapiTS, { astToString } from 'openapi-typescript'
import { parse } from 'yaml'

/** @param {string} name */
const file = (name) => new URL(`../${name}`, import.meta.url)

/** The document as JSON. @param {string} yaml */
export function asJson(yaml) {
  return `${JSON.stringify(parse(yaml), null, 1)}\n`
}

/** Its types. @param {string} yaml */
export async function asTypes(yaml) {
  const text = astToString(await openapiTS(yaml))
  return `/** The types of the API, made of openapi.yaml by \`npm run openapi\`. */\n${text}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const yaml = readFileSync(file('openapi.yaml'), 'utf8')
  writeFileSync(file('openapi.json'), asJson(yaml))
  writeFileSync(file('src/client/api.ts'), await asTypes(yaml))
}
