/**
 * Sends images to a service, many at a time, and gives what came of each in order. An image that fails is told and the
 * others go on; what would fail for all of them alike (no such domain, no token, no service, a full one) ends the command.
 */
import { readFile } from 'node:fs/promises'
import { inOrder } from '../../client/in-order.js'
import { ApiProblem } from '../../client/problem.js'
import { FileProblem, naming } from '../../host/file-problem.js'
import { progress } from '../progress.js'

/** What came of an image. */
export type Outcome<Result> = { file: string } & ({ result: Result } | { error: Error })

/** What depends on the image: it is slow to arrive or to decode, too large, of no format that is read, or no image. */
const OF_ONE_IMAGE = [408, 413, 415, 422, 504]

/**
 * @param parallel how many at a time
 * @throws ApiProblem, Unreachable
 */
export async function* eachImage<Result>(
  files: readonly string[],
  parallel: number,
  send: (image: Uint8Array<ArrayBuffer>) => Promise<Result>,
): AsyncGenerator<Outcome<Result>> {
  const show = progress('sending')
  let done = 0
  const outcomes = inOrder(files, parallel, async (file): Promise<Outcome<Result>> => {
    try {
      const image = await naming('The image', file, 'Leave it out.', () => readFile(file))
      return { file, result: await send(image) }
    } catch (error) {
      if (!isOfOneImage(error)) throw error
      return { file, error: error as Error }
    }
  })
  for await (const outcome of outcomes) {
    if (process.stderr.isTTY) show('images', ++done, files.length)
    yield outcome
  }
}

function isOfOneImage(error: unknown): boolean {
  if (error instanceof ApiProblem) return OF_ONE_IMAGE.includes(error.status) || error.code === 'empty_body'
  return error instanceof FileProblem
}
