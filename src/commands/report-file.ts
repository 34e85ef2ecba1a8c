/**
 * The file of figures that a command writes beside the folders it makes (`--report`). Whether it can be written is known
 * before the work, and it is there whole or not at all.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isFileError, naming } from '../host/file-problem.js'
import { BackboneError } from '../onnx/onnx.js'

const WHAT = 'The file (--report)'
const REMEDY = 'Name a file in a folder that can be written to.'

export class ReportFile {
  readonly #path: string
  readonly #staged: string

  private constructor(path: string) {
    this.#path = path
    this.#staged = join(dirname(path), `.${basename(path)}-${randomBytes(4).toString('hex')}`)
  }

  /**
   * Makes its folder, and an empty file in it under another name.
   *
   * @param path absolute
   * @throws BackboneError where a folder has its name, FileProblem where it cannot be written
   */
  static async open(path: string): Promise<ReportFile> {
    const report = new ReportFile(path)
    await naming('The folder of the report (--report)', dirname(path), REMEDY, () =>
      mkdir(dirname(path), { recursive: true }),
    )
    await naming(WHAT, path, REMEDY, async () => {
      if (await isOther(path))
        throw new BackboneError(`${WHAT} ${path} is there already, and is no file. ${REMEDY}`)
      await writeFile(report.#staged, '', { flag: 'wx' })
    })
    return report
  }

  /** Writes the figures as JSON, not yet under the file's name. */
  async write(figures: object): Promise<void> {
    const text = `${JSON.stringify(figures, null, 1)}\n`
    await naming(WHAT, this.#path, REMEDY, () => writeFile(this.#staged, text, { flush: true }))
  }

  /** Gives it its name; a file that has it is replaced. */
  async place(): Promise<void> {
    await naming(WHAT, this.#path, REMEDY, () => rename(this.#staged, this.#path))
  }

  /** Removes what is not in its place. */
  async discard(): Promise<void> {
    await rm(this.#staged, { force: true })
  }
}

async function isOther(path: string): Promise<boolean> {
  try {
    return !(await stat(path)).isFile()
  } catch (error) {
    if (isFileError(error) && error.code === 'ENOENT') return false
    throw error
  }
}
