package entry

const _O_DIRECTORY = 0x4000
