/** How a command ends that cannot do what it was asked: one message, exit code 1, no stack. */
import { readdir } from 'node:fs/promises'
import type { Command } from 'commander'
import { BackboneError } from '../onnx/onnx.js'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { FamilyError } from '../manifest/schema.js'
import { readFamily } from '../family/folder.js'
import { FileProblem, isFileError, naming } from '../host/file-problem.js'

/** Ends the command where the message says all there is to say; anything else is a fault of ours. */
export function end(command: Command, error: unknown): never {
  const told = [BackboneError, FamilyError, FacetError, FileProblem].some((type) => error instanceof type)
  if (told || isFileError(error)) command.error(`error: ${(error as Error).message}`)
  throw error
}

/**
 * `readFamily` of a folder that a person named.
 *
 * @param what `The family (--family)`
 * @throws FileProblem, or as `readFamily`
 */
export async function readNamedFamily(what: string, dir: string): Promise<Family> {
  const remedy = 'Name the folder of a family; facet family build makes one.'
  await naming(what, dir, remedy, () => readdir(dir))
  return readFamily(dir)
}
