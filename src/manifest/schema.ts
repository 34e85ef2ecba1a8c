/**
 * `family.json` from text to a checked manifest: shape by JSON Schema, meaning by hand.
 *
 * Text in, manifest out; `family/folder.ts` reads the files.
 */
import { createRequire } from 'node:module'
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { parseJson, toPlain } from '../strict/json.js'
import { JsonError } from '../strict/json-error.js'
import { Problems, quote } from '../strict/problems.js'
import { FamilyError } from './family-error.js'
import { fingerprint } from './fingerprint.js'
import { checkGraphs } from './graphs.js'
import { adapterElements, kindOf } from './kinds/kinds.js'
import { BASES_FILE, type FamilyManifest, type Slot } from './manifest.js'

// Node 20 warns on every import of a JSON module; `require` does not.
const schema = createRequire(import.meta.url)('./family.schema.json') as {
  properties: { name: { pattern: string } }
}
// `files` requires a name that its `properties` need not repeat.
const strict = { strict: true, strictRequired: false }
const matches = new Ajv2020({ allErrors: true, verbose: true, ...strict }).compile<FamilyManifest>(schema)

/** What a family's name must match. */
export const FAMILY_NAME = new RegExp(schema.properties.name.pattern)

/**
 * Parses and validates `family.json`.
 *
 * @param file the name shown in the error.
 * @throws FamilyError listing all problems at once.
 */
export function parseManifest(text: string, file = 'family.json'): FamilyManifest {
  const problems = new Problems()
  const manifest = parse(text, problems)
  if (manifest !== undefined && matches(manifest)) checkMeaning(manifest, problems)
  else if (manifest !== undefined) {
    // Ajv reports a bad key twice. The report with a `propertyName` gives only the pattern; the other one
    // names the key.
    const errors = matches.errors?.filter((error) => error.propertyName === undefined) ?? []
    for (const error of errors) problems.add(describe(error))
  }
  if (!problems.empty) throw new FamilyError(file, problems.list())
  return manifest as FamilyManifest
}

function parse(text: string, problems: Problems): unknown {
  try {
    const { value, duplicates } = parseJson(text)
    for (const path of duplicates) problems.add(`the key ${quote(path)} is given twice`)
    return toPlain(value)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    problems.add(`not JSON: ${error.message}`)
    return undefined
  }
}

/** One schema violation: the field, what was expected, what is there. */
function describe(error: ErrorObject): string {
  const field = error.instancePath.slice(1).replaceAll('/', '.') || 'the manifest'
  const { params } = error
  if (error.keyword === 'required') return `${field} lacks ${quote(params.missingProperty)}`
  if (error.keyword === 'additionalProperties') {
    return `${field} has the unknown field ${quote(params.additionalProperty)}`
  }
  if (error.keyword === 'propertyNames') {
    return `${field} has the key ${quote(params.propertyName)}, which is not a plain file name`
  }
  const data = error.data
  const found = typeof data === 'object' && data !== null ? JSON.stringify(data) : quote(data)
  const shown = found.length > 80 ? `${found.slice(0, 80)}…` : found
  if (error.keyword === 'enum')
    return `${field} is ${shown}, expected one of ${params.allowedValues.join(', ')}`
  if (error.keyword === 'const') return `${field} is ${shown}, expected ${quote(params.allowedValue)}`
  return `${field} is ${shown}: ${error.message}`
}

/** Checks what a schema cannot say. */
function checkMeaning(manifest: FamilyManifest, problems: Problems): void {
  const { input, slots } = manifest
  if (input.resize < Math.max(input.height, input.width)) {
    problems.add(
      `input.resize is ${input.resize}, smaller than the crop of ${input.height}x${input.width} taken from it`,
    )
  }
  const seen = new Map<string, number>()
  for (const [index, slot] of slots.entries()) {
    const first = seen.get(slot.name)
    if (first !== undefined) {
      problems.add(`slots.${index}.name is ${quote(slot.name)}, the name of slots.${first} already`)
    } else seen.set(slot.name, index)
    for (const problem of slotProblems(slot, manifest)) problems.add(`slots.${index}.${problem}`)
  }
  const adapter = adapterElements(slots)
  if (manifest.parameters.adapter !== adapter) {
    problems.add(`parameters.adapter is ${manifest.parameters.adapter}, but the slots hold ${adapter}`)
  }
  checkGraphs(manifest, problems)
  checkCompressed(manifest, problems)
  const expected = fingerprint(manifest)
  if (manifest.fingerprint !== expected) {
    problems.add(
      `fingerprint is ${quote(manifest.fingerprint)}, but weights, slots, design, input and bases give ${quote(expected)}`,
    )
  }
}

/** A compressed family has slots with a basis, and the file that holds them. */
function checkCompressed({ compressed, slots, files }: FamilyManifest, problems: Problems): void {
  const index = slots.findIndex(({ basis }) => basis !== undefined)
  if (compressed && index < 0) problems.add('compressed is given, but no slot has a basis')
  if (!compressed && index >= 0)
    problems.add(`slots.${index} has a basis, but compressed, which says of which family, is missing`)
  if (compressed && !Object.hasOwn(files, BASES_FILE)) problems.add(`files lacks ${quote(BASES_FILE)}`)
}

function slotProblems(slot: Slot, { design }: FamilyManifest): string[] {
  const problems = kindOf(slot).problems(slot, design)
  if (slot.name === 'head') problems.unshift('name is "head", which a pack uses for its classifier')
  return problems
}
