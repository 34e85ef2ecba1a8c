/** Images or packs that a command cannot work with. The message names the file or folder and the remedy. */
export class ImagesError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'ImagesError'
  }
}
