/** The time now as files carry it; `SOURCE_DATE_EPOCH` fixes it for reproducible builds. */
export function created(): string {
  const epoch = process.env.SOURCE_DATE_EPOCH
  return (epoch === undefined ? new Date() : new Date(Number(epoch) * 1000)).toISOString()
}
