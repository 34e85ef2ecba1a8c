/** Private memory of engines, each in a process of its own (`memory-process.ts`). */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { LARGEST } from './engines.js'

/**
 * Measures each side with runs of one image and of the largest batch, and prints a line a side.
 * @param dir the family's folder @returns bytes by side and images of a run
 */
export function measureMemory(sides: readonly string[], dir: string): Record<string, Record<number, number>> {
  const script = fileURLToPath(new URL('./memory-process.js', import.meta.url))
  const width = Math.max(...sides.map(({ length }) => length))
  console.log(`${'private MB'.padEnd(width)}   one image   batches of ${LARGEST}`)
  const found: Record<string, Record<number, number>> = {}
  for (const side of sides) {
    const sizes = [1, LARGEST].map((images) => {
      const args = ['--expose-gc', script, side, dir, String(images)]
      return [images, Number(execFileSync(process.execPath, args, { encoding: 'utf8' }))] as const
    })
    found[side] = Object.fromEntries(sizes)
    const [single, largest] = sizes.map(([, bytes]) => (bytes / 1e6).toFixed(0))
    console.log(`${side.padEnd(width)} ${single!.padStart(11)} ${largest!.padStart(14)}`)
  }
  return found
}
