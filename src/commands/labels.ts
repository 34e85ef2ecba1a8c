/** Labels from a file that a user named. */
import { readFile } from 'node:fs/promises'
import { naming } from '../host/file-problem.js'
import { BackboneError } from '../onnx/onnx.js'

/**
 * Labels as a JSON array of strings, or one a line.
 *
 * @throws FileProblem where there is no such file; BackboneError where it holds something else
 */
export async function readLabels(path: string): Promise<string[]> {
  const remedy = 'Name a JSON array of strings, or a text with one label a line.'
  const text = await naming('The labels (--labels)', path, remedy, () => readFile(path, 'utf8'))
  if (!text.trimStart().startsWith('['))
    return text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== '')
  let labels: unknown
  try {
    labels = JSON.parse(text)
  } catch (error) {
    throw new BackboneError(`The labels in ${path} are not valid JSON: ${(error as Error).message}`)
  }
  if (!Array.isArray(labels) || !labels.every((label) => typeof label === 'string'))
    throw new BackboneError(`The labels in ${path} are not a JSON array of strings.`)
  return labels
}
