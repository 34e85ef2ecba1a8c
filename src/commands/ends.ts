/** How a command fails: one message, exit code 1, no stack. */
import { readdir } from 'node:fs/promises'
import type { Command } from 'commander'
import { BackboneError } from '../onnx/onnx.js'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { FamilyError } from '../manifest/family-error.js'
import { readFamily } from '../family/folder.js'
import { FileProblem, isFileError, naming } from '../host/file-problem.js'
import { ImagesError } from './images-error.js'

/**
 * Ends the command with the message of an error that users can act on. Any other error is a bug and is
 * rethrown.
 */
export function end(command: Command, error: unknown): never {
  const types = [BackboneError, FamilyError, FacetError, FileProblem, ImagesError]
  const expected = types.some((type) => error instanceof type)
  if (expected || isFileError(error)) command.error(`error: ${(error as Error).message}`)
  throw error
}

/**
 * Reads a family from a folder that a user named.
 *
 * @param what the role of the folder and its option: `The family (--family)`
 * @throws FileProblem if there is no such folder; otherwise as `readFamily`
 */
export async function readNamedFamily(what: string, dir: string): Promise<Family> {
  const remedy = 'Name the folder of a family; facet family build makes one.'
  await naming(what, dir, remedy, () => readdir(dir))
  return readFamily(dir)
}
