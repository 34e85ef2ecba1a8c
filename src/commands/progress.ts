/** How far a long command is: a bar on a terminal, elsewhere a line for each part that is done. */
const WIDTH = 24

/** @param what the verb in front: `calibrating` @param unit what is counted */
export function progress(
  what: string,
  unit = 'images',
  out: Pick<NodeJS.WriteStream, 'isTTY' | 'write'> = process.stderr,
): (part: string, done: number, of: number) => void {
  return (part, done, of) => {
    const ended = done === of
    if (out.isTTY) {
      const filled = Math.round((WIDTH * done) / of)
      const bar = '#'.repeat(filled).padEnd(WIDTH, '.')
      out.write(`\r\u001b[K${what} [${bar}] ${part} ${done}/${of}${ended ? '\n' : ''}`)
    } else if (ended) out.write(`${what} ${part}: ${of} ${unit}\n`)
  }
}
